import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Manifest } from '../api/api.ts';
import { moduleFolder } from '../bare/programs.ts';

/** The definitions of Gateway API's resources, which must be installed before Istio. */
export function gatewayApi(): Manifest[] {
  const folder = join(moduleFolder('sigs.k8s.io/gateway-api'), 'config/crd/standard');
  return globSync('*.yaml', { cwd: folder })
    .sort()
    .flatMap((file) => parseAllDocuments(readFileSync(join(folder, file), 'utf8')))
    .map((document) => document.toJS() as Manifest)
    .filter(({ kind }) => kind === 'CustomResourceDefinition');
}
