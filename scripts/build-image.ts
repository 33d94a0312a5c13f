/**
 * Builds the image from `dist/kmesh`, without a container engine: `dist/image` is an OCI image layout,
 * `dist/kmesh-image.tar` the same as one file (`ctr image import`), and `dist/rootfs` its files, from which
 * istio-integration/image/Dockerfile builds the same content.
 *
 * In it are the executable, the shared libraries and programs of Debian that it needs, their licences, and a bill of
 * materials. Two builds of the same sources have one digest.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { podPrograms } from '../packages/runtime/src/pods/run-in-namespace.ts';
import { bundledModules } from './image/bundled-modules.ts';
import { debianFiles, debianPackages } from './image/debian-files.ts';
import { imageConfig } from './image/image-config.ts';
import { writeOciLayout } from './image/oci-layout.ts';
import { billOfMaterials } from './image/sbom.ts';

/** Debian's names of the programs that Kmesh runs. */
const programs = podPrograms.map((name) => (name === 'sh' ? 'dash' : name));
/** Names under which they are run, where the file has another. */
const names: Readonly<Record<string, string>> = {
  'usr/bin/sh': 'dash',
  'usr/sbin/iptables-legacy-save': 'xtables-legacy-multi',
  'usr/sbin/ip6tables-legacy-save': 'xtables-legacy-multi',
  'usr/local/bin/kmeshctl': 'kmesh',
};

/** Without the time and place of the build. */
const reproducible = [
  '--sort=name',
  '--mtime=@0',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--format=ustar',
];

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const rootfs = join(dist, 'rootfs');
const executable = join(dist, 'kmesh');
if (!existsSync(executable)) {
  console.error('build-image: dist/kmesh is not there; build it with "npm run build:binary"');
  process.exit(2);
}
const { version, kmesh } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  kmesh: { istioVersion: string };
};

rmSync(rootfs, { recursive: true, force: true });
const addons = ['kmesh-linux.node', 'kmesh-tunnel.node'].map((name) => join(root, 'build', name));
const files = debianFiles({
  programs,
  // Each match and target of a rule that is listed is described by one.
  folders: [`/usr/lib/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu/xtables`],
  executables: [executable, ...addons],
});
const packages = debianPackages(files.map((file) => file.package));
const modules = bundledModules(root, globSync(join(root, 'build/binary/*.meta.json')));
for (const { path } of files) place(mergedPath(path), readFileSync(path), 0o755);
place('usr/local/bin/kmesh', readFileSync(executable), 0o755);
for (const [name, target] of Object.entries(names)) link(name, target);
for (const [name, target] of [
  ['bin', 'usr/bin'],
  ['sbin', 'usr/sbin'],
  ['lib', 'usr/lib'],
  ['lib64', 'usr/lib64'],
] as const)
  link(name, target);
for (const folder of ['tmp', 'proc', 'sys', 'dev', 'run', 'var', 'etc/istio/config'])
  mkdirSync(join(rootfs, folder), { recursive: true });
chmodSync(join(rootfs, 'tmp'), 0o1777);
link('var/run', '/run');
place('etc/passwd', 'root:x:0:0:root:/:/usr/bin/sh\n');
place('etc/group', 'root:x:0:\nkmesh:x:1337:\n');
place('etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
place('etc/nsswitch.conf', 'hosts: files dns\n');

const documents = 'usr/share/doc/kmesh';
place(`${documents}/LICENSE`, readFileSync(join(root, 'LICENSE')));
for (const { name, version: of, licenseText } of modules)
  if (licenseText !== '') place(`${documents}/licences/npm/${name.replace('/', '_')}@${of}`, licenseText);
for (const { name } of packages)
  place(
    `${documents}/licences/debian/${name}`,
    readFileSync(realpathSync(`/usr/share/doc/${name}/copyright`)),
  );
const libbpf = readFileSync(join(root, 'packages/linux/vendor/libbpf/src/libbpf_version.h'), 'utf8');
const number = (part: string): string => new RegExp(`LIBBPF_${part}_VERSION (\\d+)`).exec(libbpf)?.[1] ?? '';
const bill = billOfMaterials({
  version,
  revision: revision(),
  modules,
  packages,
  libbpf: `${number('MAJOR')}.${number('MINOR')}`,
});
place(`${documents}/sbom.cdx.json`, bill);
writeFileSync(join(dist, 'sbom.cdx.json'), bill);

const image = writeOciLayout(join(dist, 'image'), {
  // What changes with each release lies above what changes with Debian's.
  layers: [
    archive(['--exclude=./usr/local', '--exclude=./usr/share/doc/kmesh/sbom.cdx.json', '.']),
    archive(['./usr/local', './usr/share/doc/kmesh/sbom.cdx.json']),
  ],
  config: imageConfig(version, kmesh.istioVersion),
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  references: [`docker.io/kmesh/kmesh:${version}`],
  cache: join(root, 'build/image-layers'),
});
execFileSync('tar', [...reproducible, '-cf', join(dist, 'kmesh-image.tar'), '-C', join(dist, 'image'), '.']);
writeFileSync(join(dist, 'image.digest'), `${image.digest}\n`);
console.log(`dist/image: ${(image.compressedBytes / 1e6).toFixed(1)} MB compressed, ${image.digest}`);

function archive(paths: readonly string[]): Buffer {
  return execFileSync('tar', [...reproducible, '-cf', '-', '-C', rootfs, ...paths], { maxBuffer: 2 ** 30 });
}

function place(path: string, content: string | Uint8Array, mode = 0o644): void {
  const file = join(rootfs, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

function link(path: string, target: string): void {
  mkdirSync(dirname(join(rootfs, path)), { recursive: true });
  symlinkSync(target, join(rootfs, path));
}

/** Everything is below /usr: the other names are links. */
function mergedPath(path: string): string {
  return path.replace(/^\/(?:usr\/)?/, 'usr/');
}

function revision(): string {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
}
