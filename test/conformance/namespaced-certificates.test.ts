import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connectFrom,
  createLab,
  type HboneClient,
  type Lab,
  type LabMesh,
  type MeshPod,
  type NodeProxy,
  openHbone,
  type PeerTlsOptions,
  type Pod,
  serveHbone,
  startMesh,
  workloadOf,
} from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { closeWithPaths } from '@kmesh/lab/testing/traffic/paths.ts';
import { ending, readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

interface DumpedCertificates {
  readonly certificates: readonly {
    readonly identity: string;
    readonly certChain: readonly { readonly serialNumber: string; readonly expirationTime: string }[];
  }[];
}

/** Returns the certificate that a proxy holds for an identity. */
async function held(
  proxy: NodeProxy,
  identity: string,
): Promise<{ readonly serial: bigint; readonly expires: number } | undefined> {
  const { certificates } = (await proxy.configDump()) as unknown as DumpedCertificates;
  const leaf = certificates.find((entry) => entry.identity === identity)?.certChain[0];
  if (leaf === undefined) return undefined;
  return { serial: BigInt(leaf.serialNumber), expires: Date.parse(leaf.expirationTime) };
}

/** Opens an HBONE connection to a pod from a peer that is not Kmesh. */
async function hbone(mesh: LabMesh, from: Pod, to: Pod, options: PeerTlsOptions = {}): Promise<HboneClient> {
  const socket = await connectFrom(from, { host: to.addresses.v4, port: 15008 });
  return await openHbone(socket, { identity: mesh.identity(from), ...options });
}

/** Returns the status of a CONNECT to a pod's server, or 0 if there is no response. */
async function status(mesh: LabMesh, from: Pod, to: Pod, options: PeerTlsOptions = {}): Promise<number> {
  try {
    using peer = await hbone(mesh, from, to, options);
    return (await peer.request(`${to.addresses.v4}:8080`)).status;
  } catch {
    return 0;
  }
}

describe('certificates of 10 seconds', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let client: Pod;
  let server: Pod;
  let plain: Pod;

  before(async () => {
    lab = await createLab();
    await lab.node();
    await lab.node();
    mesh = await startMesh(lab, { certificates: { lifetimeSeconds: 10 } });
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    ({ pod: server } = await mesh.pod({ name: 'server' }, 1));
    ({ pod: plain } = await mesh.pod({ name: 'plain', captured: false }));
    await server.serve({ port: 8080, mode: 'echo' });
  });
  after(() => closeWithPaths(mesh, lab));

  /** Serial of the certificate that the server shows to a new peer. */
  async function shown(): Promise<bigint> {
    using peer = await hbone(mesh, plain, server);
    return BigInt(`0x${peer.tls.getPeerCertificate().serialNumber}`);
  }

  describe('while time passes', { concurrency: true }, () => {
    test('CRT-13: renewal and expiry do not interrupt a transfer, and new handshakes use the new certificate', async () => {
      const { proxy } = mesh.node(1);
      const before = await held(proxy, spiffe(server));
      assert.ok(before !== undefined && before.expires - Date.now() <= 10_000);
      const first = await shown();
      const sockets = [
        await open(client, server.addresses.v4, 8080),
        await open(client, server.addresses.v6, 8080),
      ];
      const block = Buffer.alloc(64 * 1024);
      for (let round = 0; Date.now() < before.expires + 1_000; round++) {
        block.fill(round);
        for (const socket of sockets) {
          socket.write(block);
          assert.deepEqual(await readExactly(socket, block.length), block);
        }
        await delay(50);
      }
      for (const socket of sockets) socket.destroy();
      assert.notEqual(await shown(), first);
      const now = await held(proxy, spiffe(server));
      assert.ok(now !== undefined && now.expires > Date.now());
      const again = await open(client, server.addresses.v4, 8080);
      again.end('x');
      assert.equal((await readExactly(again, 1)).toString(), 'x', 'a new connection');
      again.destroy();
    });

    test('CRT-11: only local identities are fetched, once each, and removed with their last workload', async () => {
      const { istiod } = mesh;
      const { node, proxy } = mesh.node(0);
      const account = (name: string): string => `spiffe://cluster.local/ns/default/sa/${name}`;
      const asked = (name: string): number =>
        istiod.certificateRequests.filter(({ uri }) => uri === account(name)).length;
      let count = 100;
      const workload = (name: string, serviceAccount: string, where: string) => {
        count += 1;
        const addresses = { v4: `10.200.0.${count}`, v6: `fd00:200::${count}` };
        const place = { uid: name, podNamespace: 'default', labels: {}, node: where, addresses };
        return workloadOf({ ...place, name, serviceAccount }, { protocol: 'HBONE' });
      };
      const [one, two] = [workload('one', 'sa-shared', node.name), workload('two', 'sa-shared', node.name)];
      await mesh.apply(workload('remote', 'sa-remote', 'another-node'), one);
      await istiod.waitFor('the local one', () => asked('sa-shared') === 1);
      assert.equal(asked('sa-remote'), 0);
      await mesh.apply(two, workload('later', 'sa-later', node.name));
      await istiod.waitFor('a later resource', () => asked('sa-later') === 1);
      assert.equal(asked('sa-shared'), 1, 'the second of the identity shares');
      await mesh.apply({ kind: 'removeWorkload', uid: one.uid });
      assert.ok((await held(proxy, account('sa-shared'))) !== undefined, 'kept for the second');
      await mesh.apply({ kind: 'removeWorkload', uid: two.uid });
      await proxy.until(
        'it is forgotten',
        async () => (await held(proxy, account('sa-shared'))) === undefined,
      );
      const before = asked('sa-shared');
      await mesh.apply(two);
      await istiod.waitFor('its certificate is requested again', () => asked('sa-shared') > before);
      assert.equal(asked('sa-remote'), 0);
    });
  });
});

describe('revocation and settings of TLS', () => {
  let directory: string;
  let lab: Lab;
  let mesh: LabMesh;
  let plain: Pod;
  const revoked: bigint[] = [];

  /** A pod for each side of each row, because a revocation is permanent. */
  const clients = new Map<string, Pod>();
  const servers = new Map<string, MeshPod>();

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'kmesh-crl-'));
    lab = await createLab();
    await lab.node();
    await lab.node();
    mesh = await startMesh(lab, { environment: { CRL_PATH: join(directory, 'crl.pem') } });
    revoke();
    for (const row of ['14', '15', '16-client', '16-server', 'tls']) {
      clients.set(row, (await mesh.pod({ name: `client-${row}` })).pod);
      servers.set(row, await mesh.pod({ name: `server-${row}` }, 1));
      await server(row).serve({ port: 8080, mode: 'double' });
    }
    ({ pod: plain } = await mesh.pod({ name: 'plain', captured: false }));
  });
  after(async () => {
    await closeWithPaths(mesh, lab);
    rmSync(directory, { recursive: true, force: true });
  });

  function client(row: string): Pod {
    return clients.get(row) as Pod;
  }

  function server(row: string): Pod {
    return servers.get(row)?.pod as Pod;
  }

  /** Replaces the list by a rename, as a projected volume does. */
  function revoke(...serials: bigint[]): void {
    revoked.push(...serials);
    const list = mesh.istiod.authority.revocationList(revoked, { number: revoked.length + 1 });
    writeFileSync(join(directory, 'next.pem'), list.pem);
    renameSync(join(directory, 'next.pem'), join(directory, 'crl.pem'));
  }

  async function serialOf(pod: Pod): Promise<bigint> {
    return (await held(mesh.proxyOf(pod), spiffe(pod)))?.serial ?? -1n;
  }

  async function restart(node: number, environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const { proxy, agent } = mesh.node(node);
    proxy.kill('SIGKILL');
    await proxy.ended;
    proxy.start(environment);
    await proxy.ready();
    await agent.whenReady();
  }

  const rejections = 'istio_crl_policy_rejections_total';

  test('CRT-14, IST-24: a client whose certificate is listed at start is refused, and nothing is delivered', async () => {
    revoke(await serialOf(client('14')));
    await restart(1);
    const from = await mesh.proxyOf(client('14')).watch();
    const to = await mesh.proxyOf(server('14')).watch();
    for (const address of Object.values(server('14').addresses)) {
      assert.deepEqual(await attempt(client('14'), address, 8080), { how: 'cut', bytes: '' });
    }
    const [refused] = await to.access('inbound', 2);
    assert.deepEqual([refused?.level, refused?.message], ['warn', 'connection failed']);
    assert.match(refused?.fields['error'] ?? '', /revoked/);
    for (const { level } of await from.access('outbound', 2)) assert.equal(level, 'error');
    assert.ok((await to.growth(rejections, { reporter: 'destination' })) > 0);
    assert.equal((await server('14').counts())[0]?.connections, 0);
    await echo(client('tls'), server('14').addresses.v4);
  });

  test('CRT-15, IST-24: a server whose certificate is listed is refused by the client, flag CERT_REVOKED', async () => {
    const from = await mesh.proxyOf(client('15')).watch();
    revoke(await serialOf(server('15')));
    await mesh.proxyOf(client('15')).until('it reads the list', () => /revoked=2/.test(from.text), 8_000);
    for (const address of Object.values(server('15').addresses)) {
      assert.deepEqual(await attempt(client('15'), address, 8080), { how: 'cut', bytes: '' });
    }
    const [refused] = await from.access('outbound', 2, { 'src.workload': 'client-15' });
    assert.match(refused?.fields['error'] ?? '', /revoked/);
    const flagged = await from.traffic('source', 2, { response_flags: 'CERT_REVOKED' });
    assert.deepEqual([flagged.failed, flagged.received, flagged.sent], [2, 0, 0]);
    assert.ok((await from.growth(rejections, { reporter: 'source' })) > 0);
    assert.equal((await server('15').counts())[0]?.connections, 0);
  });

  for (const { side, row, reporter, direction } of [
    { side: 'client', row: '16-client', reporter: 'destination', direction: 'inbound' },
    { side: 'server', row: '16-server', reporter: 'source', direction: 'outbound' },
  ] as const) {
    test(`CRT-16: a list that revokes the ${side} closes its open connections, flag CERT_REVOKED`, async () => {
      const sockets = [
        await open(client(row), server(row).addresses.v4, 8080),
        await open(client(row), server(row).addresses.v6, 8080),
        await open(client('tls'), server('tls').addresses.v4, 8080),
      ];
      for (const socket of sockets) await exchange(socket);
      const [gone4, gone6, stays] = sockets;
      assert.ok(gone4 && gone6 && stays);
      const judge = mesh.proxyOf(reporter === 'source' ? client(row) : server(row));
      const watch = await judge.watch();
      revoke(await serialOf(side === 'client' ? client(row) : server(row)));
      const began = performance.now();
      assert.deepEqual(await Promise.all([ending(gone4, 10_000), ending(gone6, 10_000)]), ['reset', 'reset']);
      assert.ok(performance.now() - began < 10_000);
      for (const line of await watch.access(direction, 2, { 'src.workload': `client-${row}` })) {
        assert.equal(line.level, 'error');
        assert.match(line.fields['error'] ?? '', /revoked/);
      }
      const flagged = await watch.traffic(reporter, 2, { response_flags: 'CERT_REVOKED' });
      assert.equal(flagged.failed, 2);
      assert.ok((await watch.growth(rejections, { reporter })) > 0);
      await exchange(stays);
      stays.destroy();
    });
  }

  test('CRT-20: a TLS 1.2 client is refused unless TLS12_ENABLED', async () => {
    const old: PeerTlsOptions = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
    assert.equal(await status(mesh, plain, server('tls')), 200);
    assert.equal(await status(mesh, plain, server('tls'), old), 0);
    await restart(1, { TLS12_ENABLED: 'true' });
    assert.equal(await status(mesh, plain, server('tls'), old), 200);
    assert.equal(await status(mesh, plain, server('tls')), 200);
  });

  test('CRT-19: COMPLIANCE_POLICY=pqc takes X25519MLKEM768 and nothing else, in both directions', async () => {
    const pqc = { COMPLIANCE_POLICY: 'pqc' };
    const classical: PeerTlsOptions = { groups: 'X25519' };
    assert.equal(await status(mesh, plain, server('tls'), classical), 200, 'without the policy');
    await Promise.all([restart(0, pqc), restart(1, pqc)]);
    assert.equal(await status(mesh, plain, server('tls'), classical), 0);
    assert.equal(await status(mesh, plain, server('tls'), { groups: 'X25519MLKEM768' }), 200);
    for (const address of Object.values(server('tls').addresses)) await echo(client('tls'), address);
    const { pod, workload } = await mesh.pod(
      { name: 'peer', captured: false, workload: { protocol: 'HBONE' } },
      1,
    );
    const identity = mesh.identity(pod);
    for (const { groups, how } of [
      { groups: 'X25519', how: 'cut' },
      { groups: 'X25519MLKEM768', how: 'open' },
    ]) {
      using peer = await serveHbone(pod, { identity, groups });
      const outcome = await attempt(client('tls'), workload.addresses[0] ?? '', 8080, 'echo me', 500);
      assert.equal(outcome.how, how, groups);
      assert.equal(outcome.bytes, how === 'open' ? 'echo me' : '');
      assert.equal(peer.requests.length, how === 'open' ? 1 : 0);
    }
  });
});
