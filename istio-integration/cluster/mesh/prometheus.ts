import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { Manifest } from '../api/api.ts';
import { moduleFolder } from '../bare/programs.ts';

/** Istio's interval is 15 s: a rate would have its first value after 30 s. */
const SCRAPE = '2s';

interface Container {
  readonly name: string;
}

interface Sample extends Manifest {
  data?: Record<string, string>;
  spec?: { template?: { spec?: { containers?: readonly Container[] | undefined } } };
}

/**
 * The Prometheus of Istio's samples, which discovers targets by annotations. It scrapes more often, and does not watch
 * its configuration.
 */
export function prometheusManifests(): Manifest[] {
  const text = readFileSync(join(moduleFolder('istio.io/istio'), 'samples/addons/prometheus.yaml'), 'utf8');
  return parseAllDocuments(text).map((document) => {
    const manifest = document.toJS() as Sample;
    if (manifest.kind === 'ConfigMap' && manifest.data !== undefined) {
      const configuration = parse(manifest.data['prometheus.yml'] ?? '') as {
        global: Record<string, string>;
      };
      Object.assign(configuration.global, {
        scrape_interval: SCRAPE,
        scrape_timeout: SCRAPE,
        evaluation_interval: SCRAPE,
      });
      manifest.data['prometheus.yml'] = stringify(configuration);
    }
    const pod = manifest.spec?.template?.spec;
    if (manifest.kind === 'Deployment' && pod !== undefined)
      pod.containers = pod.containers?.filter(({ name }) => name === 'prometheus-server');
    return manifest;
  });
}

/** The queries of Istio's ztunnel dashboard, with an interval of one minute. */
export function ztunnelQueries(): string[] {
  const file = join(moduleFolder('istio.io/istio'), 'manifests/addons/dashboards/ztunnel-dashboard.gen.json');
  const found: string[] = [];
  JSON.parse(readFileSync(file, 'utf8'), (key, value: unknown) => {
    if (key === 'expr' && typeof value === 'string') found.push(value.replaceAll('$__rate_interval', '1m'));
    return value;
  });
  return found;
}
