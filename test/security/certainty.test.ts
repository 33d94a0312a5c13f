import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** The server answers there as takesKernelPath requires, and doubles at 8080. */
const HTTP = 8081;

// The kernel attests a pod only while the daemon has its certificate (bpf/README.md, "Who may talk to whom"). Without
// it connections on the kernel path end, and the tunnel path, which needs the same certificate, refuses new ones.
describe('connections between pods of a node and the certificates of their identities', () => {
  let directory: string;
  let lab: Lab;
  let mesh: LabMesh;
  const revoked: bigint[] = [];
  let pods = 0;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'kmesh-crl-'));
    lab = await createLab();
    await lab.node();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true, environment: { CRL_PATH: join(directory, 'crl.pem') } });
    revoke();
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const authority = () => mesh.istiod.certificates;

  async function pod(): Promise<Pod> {
    const { pod: made } = await mesh.pod({ name: `pod-${++pods}` });
    await made.serve({ port: 8080, mode: 'double' });
    await made.serve({ port: HTTP, mode: 'http' });
    return made;
  }

  /** Two pods with an open connection on the kernel path. */
  async function pair(): Promise<{ client: Pod; server: Pod; live: Socket }> {
    const [client, server] = [await pod(), await pod()];
    await takesKernelPath(mesh, client, `${server.addresses.v4}:${HTTP}`);
    const live = await open(client, server.addresses.v4, 8080);
    await exchange(live);
    return { client, server, live };
  }

  /** Replaces the list by a rename, as a projected volume does. */
  function revoke(...serials: bigint[]): void {
    revoked.push(...serials);
    const list = mesh.istiod.authority.revocationList(revoked, { number: revoked.length + 1 });
    writeFileSync(join(directory, 'next.pem'), list.pem);
    renameSync(join(directory, 'next.pem'), join(directory, 'crl.pem'));
  }

  async function serialOf(of: Pod): Promise<bigint> {
    const serial = await findSerial(of);
    assert.ok(serial, `${of.name} has a certificate`);
    return serial;
  }

  /** Of the certificate that the daemon holds for the pod: none that has expired. */
  async function findSerial(of: Pod): Promise<bigint | undefined> {
    const { certificates } = (await mesh.node().proxy.configDump()) as unknown as {
      readonly certificates: readonly {
        readonly identity: string;
        readonly certChain: readonly { readonly serialNumber: string }[];
      }[];
    };
    const leaf = certificates.find(({ identity }) => identity === spiffe(of))?.certChain[0];
    return leaf === undefined ? undefined : BigInt(leaf.serialNumber);
  }

  /** No byte of a connection reaches the server's applications. */
  async function isRefused(client: Pod, server: Pod): Promise<void> {
    const before = await server.counts();
    const attempts = Object.values(server.addresses).map((ip) => attempt(client, ip, 8080, 'hello', 1_500));
    for (const { bytes } of await Promise.all(attempts)) assert.equal(bytes, '');
    assert.deepEqual(await server.counts(), before);
  }

  for (const side of ['client', 'server'] as const) {
    test(`after the certificate of a ${side} is revoked its live connection ends, and no other is served`, async () => {
      const { client, server, live } = await pair();
      const others = await pair();
      revoke(await serialOf(side === 'client' ? client : server));
      assert.equal(await ending(live, 15_000), 'reset');
      await isRefused(client, server);
      await exchange(others.live);
      others.live.destroy();
    });
  }

  test('after the certificate of a pod expires its live connection ends, and no other is served', async () => {
    const server = await pod();
    authority().lifetimeSeconds = 5;
    const client = await pod();
    authority().lifetimeSeconds = undefined;
    await mesh.node().proxy.until('it has its certificate', async () => (await serialOf(client)) > 0n);
    authority().status = { code: 14, details: 'not now' };
    try {
      // Not by dialling: a certificate of a few seconds leaves no time for retries.
      await untilEnrolled(mesh, [client, server]);
      const live = await open(client, server.addresses.v4, 8080);
      await exchange(live);
      assert.notEqual(await ending(live, 15_000), 'open');
      await isRefused(client, server);
    } finally {
      authority().status = undefined;
    }
  });

  test('a pod whose certificate runs out, and its session to another node: what is open goes on, nothing begins', async () => {
    const { pod: server } = await mesh.pod({ name: 'far' }, 1);
    await server.serve({ port: 8080, mode: 'double' });
    authority().lifetimeSeconds = 8;
    const client = await pod();
    authority().lifetimeSeconds = undefined;
    await mesh
      .node()
      .proxy.until('it has its certificate', async () => (await findSerial(client)) !== undefined);
    authority().status = { code: 14, details: 'not now' };
    try {
      const live = await open(client, server.addresses.v4, 8080);
      await exchange(live);
      await mesh
        .node()
        .proxy.until('it has run out', async () => (await findSerial(client)) === undefined, 20_000);
      await isRefused(client, server);
      await exchange(live);
      live.destroy();
    } finally {
      authority().status = undefined;
    }
    await mesh
      .node()
      .proxy.until('it has another', async () => (await findSerial(client)) !== undefined, 20_000);
    await echo(client, server.addresses.v4);
  });

  test('a pod that gets no certificate is not served, and takes the kernel path once it has one', async () => {
    const server = await pod();
    authority().status = { code: 7, details: 'not this one' };
    const client = await pod();
    try {
      await isRefused(client, server);
    } finally {
      authority().status = undefined;
    }
    await takesKernelPath(mesh, client, `${server.addresses.v4}:${HTTP}`);
  });
});
