import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';

/** Where Istio's ambient tests are in its module; they read files beside them. */
export const testFolder = 'tests/integration/ambient';

/**
 * Creates in `folder` a repository for Istio's tests: links to the files of `module`, a folder of Istio's sources, and a
 * changed sample of Prometheus, without the container that reloads its configuration: a cluster without a registry does not
 * have its image.
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

/** Returns the names of the tests of a package, ordered by file name and position in the file. */
export function namesOfTests(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('_test.go'))
    .sort()
    .flatMap((name) => [
      ...readFileSync(join(folder, name), 'utf8').matchAll(/^func (Test\w+)\(\w+ \*testing\.T\)/gm),
    ])
    .map(([, name = '']) => name);
}
