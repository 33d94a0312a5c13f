import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  linkSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { debianFiles } from '../../../scripts/image/debian-files.ts';
import { writeOciLayout } from '../../../scripts/image/oci-layout.ts';
import { cache, istioVersion } from '../paths.ts';
import type { Progress } from '../progress.ts';
import { pauseImage } from './node.ts';
import { moduleFolder, programsFolder } from './programs.ts';

/** An image of the cluster: a few programs on an empty file system. */
export interface ClusterImage {
  readonly name: string;
  /** Its names in manifests. */
  readonly references: readonly string[];
  /** Programs of the cache by their path in the image. */
  readonly programs: Readonly<Record<string, string>>;
  /** Files of Istio's module by their path in the image; a pattern removes its matches from the file. */
  readonly files?: Readonly<Record<string, { readonly source: string; readonly without?: string }>>;
  /** Links by path. */
  readonly links?: Readonly<Record<string, string>>;
  /** Programs of Debian with their libraries. */
  readonly debian?: readonly string[];
  /** Those of `programs` that are linked to libraries of Debian. */
  readonly linked?: readonly string[];
  readonly entrypoint: readonly string[];
  readonly user?: string;
}

/** The image of servers and clients in the cases; it listens on the ports of Istio's own tests. */
export const appImage = `docker.io/istio/app:${istioVersion}`;
/** The name in Istio's sample Prometheus. */
export const prometheusImage = 'docker.io/prom/prometheus:v3.10.0';
export const dnsImage = 'registry.k8s.io/coredns/coredns:v1.14.2';
const multi = ['iptables', 'ip6tables'].flatMap((family) =>
  ['', '-save', '-restore'].flatMap((verb) =>
    (['nft', 'legacy'] as const).map(
      (kind) => [`usr/sbin/${family}-${kind}${verb}`, `xtables-${kind}-multi`] as const,
    ),
  ),
);
const plain = ['iptables', 'ip6tables'].flatMap((family) =>
  ['', '-save', '-restore'].map((verb) => [`usr/sbin/${family}${verb}`, 'xtables-nft-multi'] as const),
);
/** Istio's ambient profile requests the images without a shell, which have a separate name. */
const both = (name: string): string[] => [
  `docker.io/istio/${name}:${istioVersion}`,
  `docker.io/istio/${name}:${istioVersion}-distroless`,
];

/** Envoy and Istio's agent, under the names by which istiod and its injector request Istio's own build. */
const [waypointReference = '', ...otherWaypointReferences] = both('proxyv2');
export const waypointImage = waypointReference;

const coredns: ClusterImage = {
  name: 'coredns',
  references: [dnsImage],
  programs: { coredns: 'coredns' },
  entrypoint: ['/coredns'],
};

const app: ClusterImage = {
  name: 'app',
  references: [appImage],
  programs: { 'usr/local/bin/server': 'echo-server', 'usr/local/bin/client': 'echo-client' },
  // Istio's own tests name them in the servers' command line.
  files: {
    'cert.crt': { source: 'tests/testdata/certs/dns/cert-chain.pem' },
    'cert.key': { source: 'tests/testdata/certs/dns/key.pem' },
  },
  debian: ['dash', 'ip', 'cat', 'sleep'],
  entrypoint: ['/usr/local/bin/server'],
};

/** Every image but the proxy's. */
export const clusterImages: readonly ClusterImage[] = [
  {
    name: 'pause',
    references: [pauseImage],
    programs: { pause: 'pause' },
    entrypoint: ['/pause'],
  },
  coredns,
  {
    name: 'pilot',
    references: both('pilot'),
    programs: { 'usr/local/bin/pilot-discovery': 'pilot-discovery' },
    entrypoint: ['/usr/local/bin/pilot-discovery'],
    user: '1337:1337',
  },
  {
    name: 'install-cni',
    references: both('install-cni'),
    programs: { 'usr/local/bin/install-cni': 'install-cni', 'opt/cni/bin/istio-cni': 'istio-cni' },
    links: Object.fromEntries([...multi, ...plain]),
    debian: ['dash', 'xtables-nft-multi', 'xtables-legacy-multi', 'nft', 'ipset', 'ip'],
    entrypoint: ['/usr/local/bin/install-cni'],
  },
  app,
  {
    name: 'proxyv2',
    references: [waypointImage, ...otherWaypointReferences],
    programs: { 'usr/local/bin/envoy': 'envoy', 'usr/local/bin/pilot-agent': 'pilot-agent' },
    files: {
      'var/lib/istio/envoy/envoy_bootstrap_tmpl.json': {
        source: 'tools/packaging/common/envoy_bootstrap.json',
        // An extension of Istio's build; Envoy's own build exits at once if it is configured.
        without: String.raw`\{\{- if \.metadata_discovery \}\}[^]*?\{\{- end \}\}`,
      },
    },
    debian: ['dash', 'sleep'],
    linked: ['envoy'],
    entrypoint: ['/usr/local/bin/pilot-agent'],
  },
  {
    name: 'prometheus',
    references: [prometheusImage],
    programs: { 'bin/prometheus': 'prometheus' },
    entrypoint: ['/bin/prometheus'],
  },
];

/** A further image that Istio's own tests request; its name is in their source. */
const fakeRegistry: ClusterImage = {
  name: 'fake-registry',
  references: ['registry.istio.io/testing/fake-registry:1.5'],
  programs: { registry: 'fake-registry' },
  entrypoint: ['/registry'],
};

/** Images that Gateway API's conformance tests request, by name without version. */
const conformanceImages: Readonly<Record<string, Omit<ClusterImage, 'references'>>> = {
  'registry.k8s.io/gateway-api/echo-basic': {
    name: 'echo-basic',
    programs: { 'echo-basic': 'echo-basic' },
    entrypoint: ['/echo-basic'],
    user: '65532:65532',
  },
  'registry.k8s.io/gateway-api/echo-advanced': { ...app, name: 'echo-advanced' },
  'registry.k8s.io/coredns/coredns': { ...coredns, name: 'other-coredns' },
};

/** Returns the images of Istio's own tests. `names`: those that Gateway API's conformance tests request. */
export function suiteImages(names: readonly string[]): ClusterImage[] {
  const references = new Map<string, string[]>();
  for (const name of [...new Set(names)].sort()) {
    const repository = name.replace(/:[^:/]*$/, '');
    references.set(repository, [...(references.get(repository) ?? []), name]);
  }
  return [
    fakeRegistry,
    ...[...references].map(([repository, own]) => {
      const image = conformanceImages[repository];
      if (image === undefined)
        throw new Error(
          `Gateway API's conformance tests request ${own.join(', ')}, which cannot be built here`,
        );
      return { ...image, references: own };
    }),
  ];
}

/** Returns the names of the images in the manifests of a folder. */
export function namesOfImages(folder: string): string[] {
  return globSync('**/*.yaml', { cwd: folder }).flatMap((file) =>
    [...readFileSync(join(folder, file), 'utf8').matchAll(/^\s*(?:- )?image: *["']?([^\s"']+)/gm)].map(
      ([, name = '']) => name,
    ),
  );
}

/** The folder of images, which is bind-mounted into each node. */
export const imagesFolder = join(cache, 'images');

/** Writes the archives of images whose programs are newer, and returns the archives' names in {@link imagesFolder}. */
export async function buildImages(progress: Progress, images = clusterImages): Promise<string[]> {
  for (const image of images) {
    progress.note(`image ${image.name}`);
    const archive = join(imagesFolder, `${image.name}.tar`);
    const programs = Object.values(image.programs).map((program) => join(programsFolder, program));
    const made = existsSync(archive) ? statSync(archive).mtimeMs : 0;
    const description = join(imagesFolder, `${image.name}.json`);
    const same = existsSync(description) && readFileSync(description, 'utf8') === JSON.stringify(image);
    if (same && programs.every((program) => statSync(program).mtimeMs < made)) continue;
    writeImage(image, archive);
    writeFileSync(description, JSON.stringify(image));
  }
  return images.map(({ name }) => `${name}.tar`);
}

/** Writes one image as an archive of an OCI layout that `ctr image import` takes. */
export function writeImage(image: ClusterImage, archive: string, programs = programsFolder): void {
  const work = `${archive}.work`;
  const rootfs = join(work, 'rootfs');
  rmSync(work, { recursive: true, force: true });
  for (const folder of ['tmp', 'proc', 'sys', 'dev', 'run', 'var/lib', 'etc'])
    mkdirSync(join(rootfs, folder), { recursive: true });
  chmodSync(join(rootfs, 'tmp'), 0o1777);
  const place = (path: string, copy: (file: string) => void): void => {
    const file = join(rootfs, path);
    mkdirSync(dirname(file), { recursive: true });
    copy(file);
  };
  if (image.debian !== undefined) {
    for (const [name, target] of [
      ['bin', 'usr/bin'],
      ['sbin', 'usr/sbin'],
      ['lib', 'usr/lib'],
      ['lib64', 'usr/lib64'],
    ] as const)
      place(name, (file) => symlinkSync(target, file));
    const folders = image.debian.some((name) => name.startsWith('xtables'))
      ? [`/usr/lib/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu/xtables`]
      : [];
    const executables = (image.linked ?? []).map((program) => join(programs, program));
    for (const { path } of debianFiles({ programs: image.debian, folders, executables }))
      place(path.replace(/^\/(?:usr\/)?/, 'usr/'), (file) => copyFileSync(realpathSync(path), file));
    place('usr/bin/sh', (file) => symlinkSync('dash', file));
  }
  for (const [path, program] of Object.entries(image.programs))
    place(path, (file) => linkSync(realpathSync(join(programs, program)), file));
  for (const [path, { source, without }] of Object.entries(image.files ?? {})) {
    const text = readFileSync(join(moduleFolder('istio.io/istio'), source), 'utf8');
    const left = without === undefined ? text : text.replace(new RegExp(without), '');
    if (without !== undefined && left === text)
      throw new Error(`${source} of Istio has nothing that matches ${without}`);
    place(path, (file) => writeFileSync(file, left));
  }
  for (const [path, target] of Object.entries(image.links ?? {}))
    place(path, (file) => symlinkSync(target, file));
  writeFileSync(
    join(rootfs, 'etc/passwd'),
    'root:x:0:0:root:/:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\n',
  );
  writeFileSync(join(rootfs, 'etc/group'), 'root:x:0:\nistio-proxy:x:1337:\n');
  writeFileSync(join(rootfs, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  const layer = execFileSync(
    'tar',
    ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '-cf', '-', '-C', rootfs, '.'],
    { maxBuffer: 2 ** 31 - 1 },
  );
  writeOciLayout(join(work, 'layout'), {
    layers: [layer],
    config: {
      User: image.user ?? '0:0',
      Env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin'],
      Entrypoint: image.entrypoint,
      WorkingDir: '/',
      Labels: { 'org.opencontainers.image.title': image.name },
    },
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    references: image.references,
    cache: join(work, 'layers'),
  });
  execFileSync('tar', ['-cf', archive, '-C', join(work, 'layout'), '.']);
  rmSync(work, { recursive: true, force: true });
}
