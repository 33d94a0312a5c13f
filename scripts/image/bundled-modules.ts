import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** An npm package with code in the executable. */
export interface BundledModule {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** The text of its licence file; empty where it ships none. */
  readonly licenseText: string;
}

interface Metafile {
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** The npm packages that esbuild put into the bundles, Node.js itself first, then by name. */
export function bundledModules(root: string, metafiles: readonly string[]): BundledModule[] {
  const folders = new Set<string>();
  for (const file of metafiles) {
    const { inputs } = JSON.parse(readFileSync(file, 'utf8')) as Metafile;
    for (const input of Object.keys(inputs)) {
      const folder = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
      if (folder !== undefined) folders.add(folder);
    }
  }
  return ['node_modules/node', ...[...folders].sort()].map((folder) => moduleAt(join(root, folder)));
}

function moduleAt(folder: string): BundledModule {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
  const file = readdirSync(folder).find(
    (entry) => /^licen[cs]e/i.test(entry) && existsSync(join(folder, entry)),
  );
  return {
    name,
    version,
    license: license ?? 'NOASSERTION',
    licenseText: file === undefined ? '' : readFileSync(join(folder, file), 'utf8'),
  };
}
