import { createHash } from 'node:crypto';
import type { BundledModule } from './bundled-modules.ts';
import type { DebianPackage } from './debian-files.ts';

/** Contents of a bill of materials. */
export interface Materials {
  readonly version: string;
  readonly revision: string;
  readonly modules: readonly BundledModule[];
  readonly packages: readonly DebianPackage[];
  /** Of the libbpf that the addon is linked with. */
  readonly libbpf: string;
}

/**
 * The CycloneDX bill of materials of the image, as JSON. It has no time stamp, and its serial number is a hash of the
 * materials: the same materials give the same bytes.
 */
export function billOfMaterials({ version, revision, modules, packages, libbpf }: Materials): string {
  const components = [
    ...modules.map(({ name, version: of, license }) => ({
      type: name === 'node' ? 'platform' : 'library',
      'bom-ref': `pkg:npm/${encodeURIComponent(name)}@${of}`,
      name,
      version: of,
      licenses: [/ (?:OR|AND) /.test(license) ? { expression: license } : { license: { id: license } }],
      purl: `pkg:npm/${encodeURIComponent(name)}@${of}`,
    })),
    {
      type: 'library',
      'bom-ref': `pkg:github/libbpf/libbpf@${libbpf}`,
      name: 'libbpf',
      version: libbpf,
      licenses: [{ expression: 'LGPL-2.1-only OR BSD-2-Clause' }],
      purl: `pkg:github/libbpf/libbpf@${libbpf}`,
    },
    ...packages.map(({ name, version: of, architecture }) => ({
      type: 'library',
      'bom-ref': `pkg:deb/debian/${name}@${of}`,
      name,
      version: of,
      purl: `pkg:deb/debian/${name}@${encodeURIComponent(of)}?arch=${architecture}&distro=debian-12`,
    })),
  ];
  const digest = createHash('sha256')
    .update(JSON.stringify([version, revision, components]))
    .digest('hex');
  const serial = [
    digest.slice(0, 8),
    digest.slice(8, 12),
    `8${digest.slice(13, 16)}`,
    `8${digest.slice(17, 20)}`,
    digest.slice(20, 32),
  ].join('-');
  const bill = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    serialNumber: `urn:uuid:${serial}`,
    version: 1,
    metadata: {
      component: {
        type: 'container',
        'bom-ref': 'kmesh',
        name: 'kmesh',
        version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        properties: [{ name: 'kmesh:revision', value: revision }],
      },
    },
    components,
  };
  return `${JSON.stringify(bill, undefined, 2)}\n`;
}
