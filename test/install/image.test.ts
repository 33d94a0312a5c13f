import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const rootfs = join(root, 'dist/rootfs');
const build = (script: string): void => {
  execFileSync(process.execPath, [join(root, 'scripts', script)], { stdio: ['ignore', 'ignore', 'inherit'] });
};
const digest = (): string => readFileSync(join(root, 'dist/image.digest'), 'utf8');

test('two images of one executable have one digest', () => {
  build('build-binary.ts');
  build('build-image.ts');
  const first = digest();
  build('build-image.ts');
  assert.equal(digest(), first);
});

test('the executable has at most 130 MB, the image 60 MB compressed', () => {
  assert.ok(statSync(join(root, 'dist/kmesh')).size <= 130e6);
  assert.ok(statSync(join(root, 'dist/kmesh-image.tar')).size <= 60e6);
});

test('the executable needs no younger C library than 2.36', () => {
  for (const file of ['dist/kmesh', 'build/kmesh-linux.node', 'build/kmesh-tunnel.node']) {
    const symbols = execFileSync('objdump', ['-T', join(root, file)], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const minors = [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    assert.ok(Math.max(...minors) <= 36, `${file}: 2.${Math.max(...minors)}`);
  }
});

test('every part of the image is in the bill of materials, with its licence beside it', () => {
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
