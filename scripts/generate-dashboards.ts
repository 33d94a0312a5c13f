/**
 * Writes the Grafana dashboards of istio-integration/addons/grafana from their source in scripts/dashboards.
 * With `--check` it writes nothing and fails when a file differs.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { controlPlane } from './dashboards/control-plane.ts';
import { toGrafana } from './dashboards/grafana.ts';
import { kernelPath } from './dashboards/kernel-path.ts';
import { nodeOverview } from './dashboards/node-overview.ts';
import { serviceDashboard } from './dashboards/service.ts';
import { workloadDashboard } from './dashboards/workload.ts';

const check = process.argv.includes('--check');
const folder = new URL('../istio-integration/addons/grafana/', import.meta.url);
const stale: string[] = [];

for (const dashboard of [nodeOverview, serviceDashboard, workloadDashboard, kernelPath, controlPlane]) {
  const file = new URL(`${dashboard.uid}.json`, folder);
  const text = `${inlineShortLists(JSON.stringify(toGrafana(dashboard), null, 2))}\n`;
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
  if (check) stale.push(file.pathname);
  else writeFileSync(file, text);
}

if (stale.length > 0) {
  console.error(
    `generate-dashboards: not up to date: ${stale.join(', ')}. Run node scripts/generate-dashboards.ts.`,
  );
  process.exit(1);
}

/** Lists of texts and numbers on one line, as the formatter of this repository writes them. */
function inlineShortLists(json: string): string {
  return json.replaceAll(
    /\[\n\s+((?:"[^"]*"|\d+)(?:,\n\s+(?:"[^"]*"|\d+))*)\n\s+\]/g,
    (_, list: string) => `[${list.replaceAll(/,\n\s+/g, ', ')}]`,
  );
}
