import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';

/** Where Istio's ambient tests are in its module; they read files beside them. */
export const testFolder = 'tests/integration/ambient';

/**
 * Makes of `module`, a folder of Istio's sources, one in `folder` that Istio's tests take for their repository: all links,
 * but for the sample of a Prometheus, of which what only reloads its configuration is left out: an image that a cluster
 * without a registry has not.
 */
export function makeSource(module: string, folder: string): void {
  const changed = 'samples/addons/prometheus.yaml';
  rmSync(folder, { recursive: true, force: true });
  link(module, folder, changed.split('/'));
  writeFileSync(join(folder, changed), onlyServer(readFileSync(join(module, changed), 'utf8')));
}

function link(from: string, to: string, except: readonly string[]): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name !== except[0]) symlinkSync(join(from, name), join(to, name));
    else if (except.length > 1) link(join(from, name), join(to, name), except.slice(1));
  }
}

interface Workload {
  readonly kind?: string;
  readonly spec?: {
    readonly template?: { readonly spec?: { containers?: readonly { readonly name: string }[] } };
  };
}

function onlyServer(text: string): string {
  return parseAllDocuments(text)
    .map((document) => {
      const manifest = document.toJS() as Workload;
      const pod = manifest.spec?.template?.spec;
      if (manifest.kind === 'Deployment' && pod !== undefined)
        pod.containers = (pod.containers ?? []).filter(({ name }) => name === 'prometheus-server');
      return stringify(manifest);
    })
    .join('---\n');
}

/** Names of the tests of a package, in the order of its files' names and in each from the top. */
export function namesOfTests(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('_test.go'))
    .sort()
    .flatMap((name) => [
      ...readFileSync(join(folder, name), 'utf8').matchAll(/^func (Test\w+)\(\w+ \*testing\.T\)/gm),
    ])
    .map(([, name = '']) => name);
}
