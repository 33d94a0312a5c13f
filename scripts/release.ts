/**
 * Makes a release of the version in package.json: `npm run release -- --dry-run`. Builds into `dist/` the executable,
 * the image, its bill of materials, the profile and values, notes made from the commits since the last tag, and check
 * sums. A dry run does everything except the tag; without it the commit is tagged `v<version>`. Nothing is pushed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const flags = process.argv.slice(2);
const unknown = flags.filter((flag) => flag !== '--dry-run');
if (unknown.length > 0) {
  console.error(`release: unknown argument ${unknown.join(' ')}; --dry-run is the only one`);
  process.exit(2);
}
const dryRun = flags.includes('--dry-run');
if (!dryRun && git('status', '--porcelain') !== '') {
  console.error('release: the working tree has changes that are not committed: commit them first');
  process.exit(1);
}

rmSync(dist, { recursive: true, force: true });
for (const script of ['build-binary.ts', 'build-image.ts'])
  execFileSync(process.execPath, [join(root, 'scripts', script)], { stdio: 'inherit' });

const configuration = `kmesh-istio-integration-${version}.tar.gz`;
const folders = ['profiles', 'values', 'manifests', 'addons'];
const archive = execFileSync(
  'tar',
  [
    ...['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=ustar'],
    ...['-cf', '-', '-C', join(root, 'istio-integration'), ...folders],
  ],
  { maxBuffer: 2 ** 28 },
);
writeFileSync(
  join(dist, configuration),
  execFileSync('gzip', ['-9n'], { input: archive, maxBuffer: 2 ** 28 }),
);
writeFileSync(join(dist, 'NOTES.md'), notes());

const files = ['kmesh', 'kmesh-image.tar', 'sbom.cdx.json', configuration, 'NOTES.md'];
const sums = files.map((file) => `${sha256(join(dist, file))}  ${file}\n`).join('');
writeFileSync(join(dist, 'SHA256SUMS'), sums);
process.stdout.write(sums);
if (dryRun) console.log(`release: dry run of v${version}: nothing is tagged`);
else git('tag', '-a', `v${version}`, '-m', `Kmesh ${version}`);

function notes(): string {
  let since: string | undefined;
  try {
    since = git('describe', '--tags', '--abbrev=0', 'HEAD');
  } catch {
    // The first release.
  }
  const subjects = git('log', '--no-merges', '--format=%s', since === undefined ? 'HEAD' : `${since}..HEAD`);
  const image = readFileSync(join(dist, 'image.digest'), 'utf8').trim();
  const changes = subjects.split('\n').map((subject) => `* ${subject}`);
  return [`# Kmesh ${version}`, '', `Image: \`${image}\``, '', '## Changes', '', ...changes, ''].join('\n');
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function git(...args: string[]): string {
  return execFileSync('git', args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
}
