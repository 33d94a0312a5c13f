import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { clusterImages, namesOfImages, suiteImages, writeImage } from '../bare/images.ts';
import { referenceOf } from '../commands.ts';

test("an image archive is an OCI layout with all names, the program, its links and Debian's files", (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-images-'));
  context.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'program'), 'the program');
  chmodSync(join(folder, 'program'), 0o755);
  const archive = join(folder, 'image.tar');
  writeImage(
    {
      name: 'image',
      references: ['example.org/image:1', 'example.org/image:1-distroless'],
      programs: { 'usr/local/bin/first': 'program' },
      links: { 'opt/second': '/usr/local/bin/first' },
      debian: ['cat'],
      entrypoint: ['/usr/local/bin/first'],
      user: '1337:1337',
    },
    archive,
    folder,
  );
  const read = (path: string): Buffer => execFileSync('tar', ['-xOf', archive, path]);
  const blob = (digest: string): Buffer => read(`./blobs/sha256/${digest.replace('sha256:', '')}`);
  const { manifests } = JSON.parse(read('./index.json').toString());
  assert.deepEqual(
    manifests.map(
      (one: { annotations: Record<string, string> }) => one.annotations['io.containerd.image.name'],
    ),
    ['example.org/image:1', 'example.org/image:1-distroless'],
  );
  assert.equal(referenceOf(archive), 'example.org/image:1');
  const manifest = JSON.parse(blob(manifests[0].digest).toString());
  const { config } = JSON.parse(blob(manifest.config.digest).toString());
  assert.deepEqual([config.User, config.Entrypoint], ['1337:1337', ['/usr/local/bin/first']]);
  const files = execFileSync('tar', ['-tzvf', '-'], { input: blob(manifest.layers[0].digest) }).toString();
  assert.match(files, /-rwxr-xr-x 0\/0 .* \.\/usr\/local\/bin\/first$/m);
  assert.match(files, /\.\/opt\/second -> \/usr\/local\/bin\/first$/m);
  assert.match(files, /\.\/usr\/bin\/cat$/m);
  assert.match(files, /\.\/usr\/lib\/.*libc\.so\.6$/m);
  assert.deepEqual(readdirSync(folder).sort(), ['image.tar', 'program']);
});

test("Istio's images also have the names of the variant without a shell", () => {
  for (const name of ['pilot', 'install-cni', 'proxyv2']) {
    const references = clusterImages.find((image) => image.name === name)?.references ?? [];
    assert.equal(references.length, 2);
    assert.equal(references[1], `${references[0]}-distroless`);
  }
});

test("the images of Gateway API's conformance tests have every name by which its manifests ask for them", (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-images-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const echo = 'registry.k8s.io/gateway-api/echo-basic';
  mkdirSync(join(folder, 'base'));
  writeFileSync(
    join(folder, 'base/one.yaml'),
    `containers:\n- name: a\n  image: ${echo}:v1\n- image: "${echo}:v2-dev.1"\n`,
  );
  writeFileSync(
    join(folder, 'two.yaml'),
    `containers:\n- image: registry.k8s.io/coredns/coredns:v9\n---\ncontainers:\n- image: ${echo}:v1\n`,
  );
  assert.deepEqual(
    suiteImages(namesOfImages(folder)).map(({ name, references }) => [name, references]),
    [
      ['fake-registry', ['registry.istio.io/testing/fake-registry:1.5']],
      ['other-coredns', ['registry.k8s.io/coredns/coredns:v9']],
      ['echo-basic', [`${echo}:v1`, `${echo}:v2-dev.1`]],
    ],
  );
  assert.throws(
    () => suiteImages(['example.org/new:v1']),
    /request example\.org\/new:v1, which cannot be built here/,
  );
});
