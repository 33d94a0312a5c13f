import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = join(root, 'dist');
const rootfs = join(dist, 'rootfs');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const configuration = `kmesh-istio-integration-${version}.tar.gz`;
const script = (name: string, ...words: string[]): string =>
  execFileSync(process.execPath, [join(root, 'scripts', name), ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
const git = (...words: string[]): string =>
  execFileSync('git', words, { cwd: root, encoding: 'utf8' }).trim();

let output: string;
before(() => {
  output = script('release.ts', '--dry-run');
});

test('a dry run builds every part and tags nothing', () => {
  assert.match(output, new RegExp(`dry run of v${version}: nothing is tagged`));
  assert.equal(git('tag', '--list', `v${version}`), '');
  const sums = readFileSync(join(dist, 'SHA256SUMS'), 'utf8').trim().split('\n');
  assert.deepEqual(
    sums.map((line) => line.slice(66)),
    ['kmesh', 'kmesh-image.tar', 'sbom.cdx.json', configuration, 'NOTES.md'],
  );
});

test('a second image of the executable has the same checksum', () => {
  script('build-image.ts');
  const checked = execFileSync('sha256sum', ['--check', 'SHA256SUMS'], { cwd: dist, encoding: 'utf8' });
  assert.equal(checked.match(/: OK$/gm)?.length, 5, checked);
});

test('the archive has the profile, the values, the manifests and the dashboards as they are in the sources', () => {
  const archive = join(dist, configuration);
  const names = execFileSync('tar', ['-tzf', archive], { encoding: 'utf8' }).trim().split('\n');
  for (const name of [
    'profiles/kmesh.yaml',
    'values/ztunnel.yaml',
    'values/ztunnel-tunnel-path.yaml',
    'manifests/network-policy.yaml',
    'manifests/pod-monitor.yaml',
    'addons/prometheus/recording-rules.yaml',
  ])
    assert.ok(names.includes(name), name);
  assert.equal(
    execFileSync('tar', ['-xzOf', archive, 'profiles/kmesh.yaml'], { encoding: 'utf8' }),
    readFileSync(join(root, 'istio-integration/profiles/kmesh.yaml'), 'utf8'),
  );
});

test('the notes name the version, the image by its digest, and the last change', () => {
  const notes = readFileSync(join(dist, 'NOTES.md'), 'utf8');
  assert.ok(notes.startsWith(`# Kmesh ${version}\n`));
  assert.ok(notes.includes(readFileSync(join(dist, 'image.digest'), 'utf8').trim()));
  assert.ok(notes.includes(`* ${git('log', '--no-merges', '--format=%s', '-1')}\n`));
});

test('an unknown argument is refused before anything is removed', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/release.ts'), '--dryrun'], {
    encoding: 'utf8',
  });
  assert.equal(status, 2);
  assert.match(stderr, /unknown argument --dryrun/);
  assert.ok(readFileSync(join(dist, 'SHA256SUMS'), 'utf8').length > 0);
});

test('the executable has at most 130 MB, the image 60 MB compressed', () => {
  assert.ok(statSync(join(root, 'dist/kmesh')).size <= 130e6);
  assert.ok(statSync(join(root, 'dist/kmesh-image.tar')).size <= 60e6);
});

test('the executable needs no newer C library than 2.36', () => {
  for (const file of ['dist/kmesh', 'build/kmesh-linux.node', 'build/kmesh-tunnel.node']) {
    const symbols = execFileSync('objdump', ['-T', join(root, file)], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const minors = [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    assert.ok(Math.max(...minors) <= 36, `${file}: 2.${Math.max(...minors)}`);
  }
});

test('the bill of materials lists every part of the image, and its licence is in the image', () => {
  const bill = JSON.parse(readFileSync(join(rootfs, 'usr/share/doc/kmesh/sbom.cdx.json'), 'utf8')) as {
    bomFormat: string;
    components: { name: string; version: string; purl: string }[];
  };
  assert.equal(bill.bomFormat, 'CycloneDX');
  const names = new Set(bill.components.map(({ name }) => name));
  for (const name of ['node', '@grpc/grpc-js', 'protobufjs', 'libbpf', 'libc6', 'libelf1', 'nftables'])
    assert.ok(names.has(name), name);
  for (const { name, purl } of bill.components)
    if (purl.startsWith('pkg:deb/'))
      assert.ok(
        existsSync(join(rootfs, 'usr/share/doc/kmesh/licences/debian', name)),
        `no licence of ${name}`,
      );
});

test('the image has no shell tools beyond what the kernel path runs, and no package manager', () => {
  for (const absent of ['usr/bin/bash', 'usr/bin/apt', 'usr/bin/dpkg', 'usr/bin/curl', 'usr/bin/node'])
    assert.equal(existsSync(join(rootfs, absent)), false, absent);
});
