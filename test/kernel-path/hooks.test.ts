import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Dialer } from '@kmesh/lab/testing/kernel/dialer.ts';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import {
  createPodNamespace,
  type KernelPath,
  service,
  startKernelPath,
  workload,
} from '@kmesh/lab/testing/kernel/kernel-path.ts';
import {
  type Capability,
  closeDescriptor,
  connectSocket,
  enableProgramStatistics,
  findCgroupMount,
  openListener,
  openUdpSocket,
  probeCapabilities,
  socketPeerAddress,
} from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import {
  type ConnectReason,
  type KernelProgram,
  kernelPathObstacles,
  kernelPrograms,
  pathOfReason,
  readConnectCounters,
} from '@kmesh/runtime';

const client = workload({ uid: 'client', addresses: ['10.0.0.9'] });

/** The dialer reads the real peer of its socket, which the getpeername programs would hide. */
const withoutPeerName = kernelPrograms.filter((name) => !name.startsWith('kmesh_peer'));

/** One service on both families with one endpoint, and a PASSTHROUGH one. */
async function start(programs: readonly KernelProgram[] = withoutPeerName): Promise<KernelPath> {
  const view = new MeshState();
  const path = await startKernelPath({ view, programs });
  const loadBalancer = { mode: 'Passthrough', healthPolicy: 'OnlyHealthy', routingPreferences: [] } as const;
  await path.tables.apply(
    view.apply([
      { kind: 'workload', workload: client },
      {
        kind: 'service',
        service: service({
          hostname: 'web',
          vips: [
            { network: '', ip: '10.1.0.1' },
            { network: '', ip: 'fd10::1' },
          ],
          ports: new Map([[80, 8080]]),
        }),
      },
      {
        kind: 'service',
        service: service({
          hostname: 'raw',
          vips: [{ network: '', ip: '10.1.0.2' }],
          ports: new Map([[80, 8080]]),
          loadBalancer,
        }),
      },
      {
        kind: 'workload',
        workload: workload({
          uid: 'web-1',
          addresses: ['10.2.0.1', 'fd20::1'],
          services: new Map([
            ['default/web', new Map()],
            ['default/raw', new Map()],
          ]),
        }),
      },
    ]),
  );
  return path;
}

/** Counters by path, for comparing before and after. */
function counters(path: KernelPath): Record<string, bigint> {
  const sums: Record<string, bigint> = { kernel: 0n, tunnel: 0n, outside: 0n, refused: 0n };
  for (const [reason, count] of Object.entries(readConnectCounters(path.object.map('counters')))) {
    const name = pathOfReason(reason as ConnectReason);
    sums[name] = (sums[name] ?? 0n) + count;
  }
  return sums;
}

describe('the hooks of the kernel path', () => {
  before(() => assert.deepEqual(kernelPathObstacles(), [], 'this machine must run the kernel path'));

  test('BPF-01: the programs load on this kernel, or the error names the missing feature and the kernel that has it', async () => {
    await using path = await start();
    assert.ok(path.object.programNames.includes('kmesh_connect4'));
    const old: Capability[] = probeCapabilities().map((row) =>
      row.name === 'netns-cookie-sockops' ? { ...row, available: false, reason: 'helper unknown' } : row,
    );
    const [sentence = '', ...others] = kernelPathObstacles(old);
    assert.match(sentence, /namespace cookie in sockops.*Linux 5\.15/);
    assert.deepEqual(others, []);
  });

  test('BPF-02: another connect program at the same cgroup runs too, in either order of attachment', async () => {
    const cgroup = findCgroupMount() ?? '';
    using statistics = enableProgramStatistics();
    void statistics;
    for (const first of ['other', 'kmesh'] as const) {
      using other = await loadEmptyProgram();
      const early = first === 'other' ? other.program('empty_connect4').attachCgroup(cgroup) : undefined;
      await using path = await start();
      const late = first === 'kmesh' ? other.program('empty_connect4').attachCgroup(cgroup) : undefined;
      using pod = createPodNamespace();
      path.tables.enrol(pod.cookie, client, false);
      const dialer = new Dialer(pod);
      const [[result] = []] = await dialer.dial([{ ip: '10.1.0.1', port: 80, count: 1 }]);
      await dialer.close();
      early?.close();
      late?.close();
      assert.deepEqual(result, { ip: '10.2.0.1', port: 8080 });
      assert.ok(other.program('empty_connect4').info().runCount > 0n);
      assert.ok(path.object.program('kmesh_connect4').info().runCount > 0n);
    }
  });

  test('BPF-03: a process that is not enrolled reaches what it dials, and nothing is counted', async () => {
    await using path = await start();
    using statistics = enableProgramStatistics();
    void statistics;
    using outsider = createPodNamespace();
    const dialer = new Dialer(outsider);
    const results = await dialer.dial([
      { ip: '10.1.0.1', port: 80, count: 50 },
      { ip: 'fd10::1', port: 80, count: 50 },
      { ip: '10.1.0.1', port: 81, count: 1 },
    ]);
    await dialer.close();
    assert.ok(results[0]?.every((result) => result.ip === '10.1.0.1' && result.port === 80));
    assert.ok(results[1]?.every((result) => result.ip === 'fd10::1' && result.port === 80));
    assert.equal(results[2]?.[0]?.ip, '10.1.0.1');
    assert.deepEqual(counters(path), { kernel: 0n, tunnel: 0n, outside: 0n, refused: 0n });
    assert.ok(path.object.program('kmesh_connect4').info().runCount >= 51n);
  });

  for (const [name, dialled, endpoint] of [
    ['IPv4', '10.1.0.1', '10.2.0.1'],
    ['IPv6', 'fd10::1', 'fd20::1'],
    ['IPv4-mapped IPv6', '::ffff:10.1.0.1', '10.2.0.1'],
  ] as const) {
    test(`BPF-09: an ${name} socket is served by the endpoint and sees the address that it dialled`, async () => {
      await using path = await start(kernelPrograms);
      using pod = createPodNamespace();
      path.tables.enrol(pod.cookie, client, false);
      const server = net.createServer((socket) => socket.end('server speaks first'));
      server.listen({ fd: openListener({ namespace: pod, address: '::', port: 8080 }) });
      await once(server, 'listening');
      const accepted = once(server, 'connection');
      const fd = await connectSocket({ namespace: pod, address: dialled, port: 80 });
      const peer = socketPeerAddress(fd);
      assert.equal(peer.address.replace('::ffff:', ''), dialled.replace('::ffff:', ''));
      assert.equal(peer.port, 80);
      const [socket] = (await accepted) as [net.Socket];
      assert.equal(socket.localAddress?.replace('::ffff:', ''), endpoint);
      const reader = new net.Socket({ fd, readable: true, writable: true });
      const [data] = (await once(reader, 'data')) as [Buffer];
      assert.equal(data.toString(), 'server speaks first');
      reader.destroy();
      socket.destroy();
      server.close();
      await once(server, 'close');
    });
  }

  test('BPF-12: the generated layouts are those of the compiled object', () => {
    const script = fileURLToPath(new URL('../../scripts/generate-layouts.ts', import.meta.url));
    const result = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
    assert.equal(result.status, 0, result.stderr);
  });

  test('NEG-25: a PASSTHROUGH service is reached at its original destination', async () => {
    await using path = await start();
    using pod = createPodNamespace();
    path.tables.enrol(pod.cookie, client, false);
    const dialer = new Dialer(pod);
    const [results = []] = await dialer.dial([{ ip: '10.1.0.2', port: 80, count: 20 }]);
    await dialer.close();
    for (const result of results) assert.deepEqual(result, { ip: '10.1.0.2', port: 80 });
    assert.equal(counters(path).outside, 20n);
  });

  test('NEG-36: UDP of an enrolled pod is not changed', async () => {
    await using path = await start();
    using pod = createPodNamespace();
    path.tables.enrol(pod.cookie, client, false);
    const server = dgram.createSocket('udp4');
    server.bind({
      fd: openUdpSocket({ namespace: pod, address: '10.1.0.1', port: 80 }),
    } as dgram.BindOptions);
    server.on('message', (message, from) => server.send(message, from.port, from.address));
    const socket = dgram.createSocket('udp4');
    socket.bind({ fd: openUdpSocket({ namespace: pod, address: '10.3.0.1', port: 0 }) } as dgram.BindOptions);
    socket.connect(80, '10.1.0.1');
    await once(socket, 'connect');
    assert.equal(socket.remoteAddress().address, '10.1.0.1');
    socket.send('echo');
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.equal(answer.toString(), 'echo');
    socket.close();
    server.close();
    assert.deepEqual(counters(path), { kernel: 0n, tunnel: 0n, outside: 0n, refused: 0n });
  });

  test('NEG-37: IPv6 link-local and multicast destinations are reached as without Kmesh', async () => {
    await using path = await start();
    using pod = createPodNamespace();
    using outsider = createPodNamespace();
    path.tables.enrol(pod.cookie, client, false);
    const targets = ['fe80::1', 'ff02::1', 'ff05::2', '224.0.0.1', '169.254.1.1'].map((ip) => ({
      ip,
      port: 80,
      count: 3,
    }));
    const dialers = [new Dialer(pod), new Dialer(outsider)];
    const [enrolled, plain] = await Promise.all(dialers.map((dialer) => dialer.dial(targets)));
    await Promise.all(dialers.map((dialer) => dialer.close()));
    assert.deepEqual(enrolled, plain);
    assert.equal(counters(path).kernel, 0n);
  });

  test("the proxy's own sockets in a pod are not changed", async () => {
    await using path = await start();
    using pod = createPodNamespace();
    path.tables.enrol(pod.cookie, client, false);
    const listener = openListener({ namespace: pod, address: '10.1.0.1', port: 80 });
    const fd = await connectSocket({ namespace: pod, address: '10.1.0.1', port: 80, mark: 0x539 });
    closeDescriptor(fd);
    closeDescriptor(listener);
    assert.equal(readConnectCounters(path.object.map('counters')).outsideProxy, 1n);
  });

  test('connections of a pod that leaves the mesh are not changed from then on', async () => {
    await using path = await start();
    using pod = createPodNamespace();
    path.tables.enrol(pod.cookie, client, false);
    const dialer = new Dialer(pod);
    const target = [{ ip: '10.1.0.1', port: 80, count: 1 }];
    assert.deepEqual(await dialer.dial(target), [[{ ip: '10.2.0.1', port: 8080 }]]);
    path.tables.remove(pod.cookie);
    assert.deepEqual(await dialer.dial(target), [[{ ip: '10.1.0.1', port: 80 }]]);
    await dialer.close();
  });
});
