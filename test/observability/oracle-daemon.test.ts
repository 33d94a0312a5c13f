import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import {
  type AccessLine,
  createLab,
  keyOf,
  type Lab,
  type LabMesh,
  type MeshNode,
  type Pod,
  type ProxyWatch,
  type Sample,
  serviceOf,
  startMesh,
  sumOf,
} from '@kmesh/lab';
import {
  converseAll,
  type Expected,
  ended,
  expectedOf,
  planOf,
  servePlan,
} from '@kmesh/lab/testing/probe/plans.ts';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
const pods = new Map<string, Pod>();
const hosts = new Map<string, { v4: string; v6: string }>();

const ON_KERNEL_PATH = repetitions({ ci: 500, full: 2_000 });
const ON_TUNNEL_PATH = repetitions({ ci: 2_500, full: 10_000 });

/** One server for each path of a connection from a captured pod. */
const ways = [
  { name: 'near', node: 0, captured: true, path: 'kernel', reason: 'balanced', connections: ON_KERNEL_PATH },
  {
    name: 'plain',
    node: 1,
    captured: false,
    path: 'kernel',
    reason: 'balanced',
    connections: ON_KERNEL_PATH,
  },
  { name: 'far', node: 1, captured: true, path: 'tunnel', reason: 'hbone', connections: ON_TUNNEL_PATH },
] as const;
type Way = (typeof ways)[number];

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab, { kernelPath: true, environment: { CONNECTION_TIMEOUT: '2s' } });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  await client.run('sysctl', ['-qw', 'net.ipv4.tcp_syn_retries=1']);
  for (const { name, node, captured } of ways) {
    const { addresses } = await lab.outsideHost(`vip-${name}`);
    const service = serviceOf({ name, vips: addresses, ports: { 80: 8080, 81: 8081, 82: 8082 } });
    await mesh.apply(service);
    const workload = { services: { [keyOf(service)]: {} } };
    const { pod } = await mesh.pod({ name, captured, workload }, node);
    await pod.listen({ port: 8080 }, servePlan);
    await pod.run('nft', [
      'add table inet silent; add chain inet silent in { type filter hook input priority 0; };' +
        'add rule inet silent in tcp dport 8082 drop',
    ]);
    pods.set(name, pod);
    hosts.set(name, addresses);
  }
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

interface Watched {
  readonly node: MeshNode;
  readonly watch: ProxyWatch;
  readonly before: readonly Sample[];
}

async function watchNodes(): Promise<Watched[]> {
  return Promise.all(
    mesh.nodes.map(async (node) => ({
      node,
      before: await node.proxy.metrics(),
      watch: await node.proxy.watch(),
    })),
  );
}

/** Increase of a node's counters since then, by name and labels. */
async function growthOf({ node, before }: Watched) {
  const now = await node.proxy.metrics();
  return (name: string, labels: Readonly<Record<string, string>>) =>
    sumOf(now, name, labels) - sumOf(before, name, labels);
}

/** Waits until every line has been written. A later scrape has all counts until then. */
async function linesOf({ node, watch }: Watched, expected: number, name: string): Promise<AccessLine[]> {
  const found = () => watch.lines.filter(({ fields }) => fields['dst.workload'] === name);
  await node.proxy.until(`${expected} lines`, () => found().length >= expected, 10_000);
  await node.proxy.metrics();
  return found();
}

const identity = (name: string) => `spiffe://cluster.local/ns/default/sa/sa-${name}`;

const bytes = (lines: readonly AccessLine[], field: 'bytes_sent' | 'bytes_recv') =>
  lines.reduce((sum, { fields }) => sum + Number(fields[field]), 0);

const families = ['istio_tcp', 'kmesh_tcp_workload', 'kmesh_tcp'];
const counters = [
  'connections_opened',
  'connections_closed',
  'connections_failed',
  'received_bytes',
  'sent_bytes',
];

/** Asserts the counts of both sides: [reporter, node, opened and closed, failed]. */
async function expectExactly(watched: readonly Watched[], way: Way, done: Expected): Promise<void> {
  const source = watched[0] as Watched;
  const destination = watched[way.node] as Watched;
  // The destination's proxy reports refused connections, too.
  const inbound = !way.captured ? 0 : way.path === 'tunnel' ? done.all : done.established;
  const sourceLines = await linesOf(source, done.all + (source === destination ? inbound : 0), way.name);
  const inboundLines =
    source === destination ? sourceLines : way.captured ? await linesOf(destination, inbound, way.name) : [];
  const outbound = sourceLines.filter(({ fields }) => fields['direction'] === 'outbound');
  const accepted = inboundLines.filter(({ fields }) => fields['direction'] === 'inbound');
  assert.deepEqual([outbound.length, accepted.length], [done.all, inbound]);
  const refused = done.count('refused');
  for (const [lines, failed] of [
    [outbound, refused],
    [accepted, inbound - (inbound === 0 ? 0 : done.established)],
  ] as const) {
    assert.equal(lines.filter(({ level }) => level === 'error').length, failed);
    assert.equal(lines.filter(({ fields }) => fields['error'] !== undefined).length, failed);
  }
  // Identities are logged only if TLS verified or the kernel attested them (ambient contract 16).
  const proven = way.captured ? [identity('client'), identity(way.name)] : [undefined, undefined];
  for (const { fields } of [...outbound, ...accepted]) {
    assert.deepEqual(
      [fields['path'], fields['src.workload'], fields['dst.service']],
      [way.path, 'client', `${way.name}.default.svc.cluster.local`],
    );
    assert.deepEqual([fields['src.identity'], fields['dst.identity']], proven);
  }
  assert.deepEqual(
    [bytes(outbound, 'bytes_sent'), bytes(outbound, 'bytes_recv')],
    [done.requests, done.replies],
  );
  const acceptedBytes = way.captured ? [done.replies, done.requests] : [0, 0];
  assert.deepEqual([bytes(accepted, 'bytes_sent'), bytes(accepted, 'bytes_recv')], acceptedBytes);

  const [counted, arrived] = [await growthOf(source), await growthOf(destination)];
  const service = { destination_workload: way.name };
  for (const family of families) {
    const values = (grown: typeof counted, reporter: string) =>
      counters.map((name) => grown(`${family}_${name}_total`, { reporter, ...service }));
    assert.deepEqual(
      values(counted, 'source'),
      [done.all, done.all, refused, done.requests, done.replies],
      `${family} of the source`,
    );
    assert.deepEqual(
      values(arrived, 'destination'),
      way.captured
        ? [inbound, inbound, inbound - done.established, done.requests, done.replies]
        : [0, 0, 0, 0, 0],
      `${family} of the destination`,
    );
    if (source !== destination) assert.deepEqual(values(counted, 'destination'), [0, 0, 0, 0, 0]);
  }
  // The server's identity is that of its workload when the connection opened; the client's is the verified one (15.2,
  // 17).
  const principals = {
    source_principal: proven[0] ?? 'unknown',
    destination_principal: identity(way.name),
    connection_security_policy: way.path === 'tunnel' ? 'mutual_tls' : 'unknown',
  };
  for (const [grown, reporter, all] of [
    [counted, 'source', done.all],
    [arrived, 'destination', inbound],
  ] as const) {
    assert.equal(
      grown('istio_tcp_connections_opened_total', { reporter, ...service, ...principals }),
      all,
      `principals of the ${reporter}`,
    );
  }
}

for (const way of ways) {
  test(`${way.connections} connections to a ${way.name} server on the ${way.path} path: metrics and log lines of both proxies equal what was sent`, async () => {
    const watched = await watchNodes();
    const host = hosts.get(way.name) ?? { v4: '', v6: '' };
    const refusesConnect = way.path === 'kernel';
    await converseAll({ client, host, refusesConnect }, way.connections, 64);
    const done = expectedOf(Array.from({ length: way.connections }, (_, index) => planOf(index)));
    await expectExactly(watched, way, done);
    const grown = await growthOf(watched[0] as Watched);
    assert.equal(
      grown('kmesh_connections_path_total', { path: way.path, reason: way.reason }),
      way.connections,
    );
    assert.equal(grown('kmesh_connections_path_total', {}), way.connections, 'and on no other path');
    assert.equal(grown('kmesh_ring_events_lost_total', {}), 0);
    assert.equal(grown('kmesh_connections_reconciled_total', {}), 0);
  });

  test(`connections to an unresponsive ${way.name} server fail with one line each, on IPv4 and IPv6`, async () => {
    const watched = await watchNodes();
    const to = Object.values(hosts.get(way.name) ?? {});
    await Promise.all(
      to.map((host) => {
        const attempt = client.connect({ host, port: 82, timeoutMs: 20_000 });
        return way.path === 'kernel' ? assert.rejects(attempt) : ended(attempt);
      }),
    );
    const source = watched[0] as Watched;
    const lines = await linesOf(source, to.length, way.name);
    assert.equal(lines.length, to.length);
    for (const { fields } of lines) assert.match(fields['error'] ?? '', /timed out|503/);
    const grown = await growthOf(source);
    const labels = { reporter: 'source', destination_workload: way.name };
    const counted = (name: string, more = {}) =>
      grown(`istio_tcp_connections_${name}_total`, { ...labels, ...more });
    assert.equal(counted('failed', { response_flags: 'CONNECT' }), to.length);
    assert.equal(counted('opened', { response_flags: '-' }), to.length);
    assert.equal(counted('closed'), to.length);
    if (way.path === 'tunnel') {
      const inbound = await linesOf(watched[1] as Watched, to.length, way.name);
      assert.equal(inbound.length, to.length);
    }
  });

  test(`OBS-09: bytes to a ${way.name} server count while it is idle with an open connection, which a killed process ends cleanly`, async () => {
    const watched = await watchNodes();
    const host = hosts.get(way.name)?.v6 ?? '';
    // The plan of connection 0: a request of 16 bytes, a reply of one.
    const script = `exec 3<>/dev/tcp/${host}/80; printf '%16d' 0 >&3; head -c 1 <&3; exec sleep 1000`;
    const child = client.spawn('bash', ['-c', script]);
    assert.ok(child.stdout);
    await once(child.stdout, 'data');
    const source = watched[0] as Watched;
    const labels = { reporter: 'source', destination_workload: way.name };
    const counts = async () => {
      const grown = await growthOf(source);
      return counters.map((name) => grown(`istio_tcp_${name}_total`, labels));
    };
    // If the kernel refuses to iterate over flows, bytes are counted when a connection closes.
    const withBytes = !source.node.proxy.log.includes('counted only when they close');
    await source.node.proxy.until(
      'it is counted',
      async () => {
        const [opened, closed, , received, sent] = await counts();
        if (opened !== 1 || closed !== 0) return false;
        return withBytes ? received === 16 && sent === 1 : received === 0 && sent === 0;
      },
      5_000,
    );
    assert.deepEqual(source.watch.lines, []);
    child.kill('SIGKILL');
    const lines = await linesOf(source, way.name === 'near' ? 2 : 1, way.name);
    assert.equal(lines.length, way.name === 'near' ? 2 : 1);
    for (const line of lines) assert.equal(line.level, 'info');
    assert.deepEqual(await counts(), [1, 1, 0, 16, 1]);
  });
}

test('connects that the hook refuses are early denies of the client’s node, each one line and counted by its path', async () => {
  const { addresses } = await lab.outsideHost('vip-nobody');
  await mesh.apply(serviceOf({ name: 'nobody', vips: addresses, ports: { 80: 8080 } }));
  const refused = (host: string) =>
    assert.rejects(client.connect({ host, port: 80 }), { code: 'ECONNREFUSED' });
  const source = mesh.node().proxy;
  const before = await source.watch();
  let attempts = 0;
  // Until it is in the tables, the tunnel path would answer.
  await source.until('the tables know it', async () => {
    attempts++;
    const attempt = await client.connect({ host: addresses.v4, port: 80 }).catch((error) => error.code);
    if (attempt !== 'ECONNREFUSED') attempt.destroy?.();
    return attempt === 'ECONNREFUSED';
  });
  const logged = () => before.lines.filter(({ fields }) => fields['dst.addr'] === `${addresses.v4}:80`);
  await source.until('each of these is logged', () => logged().length >= attempts);
  const [watched] = await watchNodes();
  assert.ok(watched);
  for (let index = 0; index < 100; index++) {
    await refused(addresses.v4);
    await refused(addresses.v6);
  }
  const lines = () => watched.watch.lines.filter(({ message }) => message === 'connection failed');
  await source.until('all are logged', () => lines().length >= 200);
  const hosts = [`${addresses.v4}:80`, `[${addresses.v6}]:80`];
  lines().forEach(({ level, fields }, index) => {
    assert.deepEqual(
      [level, fields['direction'], fields['dst.addr'], fields['error']],
      [
        'warn',
        'outbound',
        hosts[index % 2],
        'Service default/nobody.default.svc.cluster.local has no usable endpoint.',
      ],
    );
    assert.equal(Object.keys(fields).length, 4);
  });
  assert.equal(lines().length, 200);
  const grown = await growthOf(watched);
  assert.equal(grown('kmesh_connections_path_total', { path: 'refused', reason: 'empty' }), 200);
  assert.equal(grown('kmesh_connections_path_total', {}), 200);
  assert.equal(grown('kmesh_refusals_unlogged_total', {}), 0);
  // As on the tunnel path, an early deny changes no traffic metric (15.3).
  for (const family of families) assert.equal(grown(`${family}_connections_opened_total`, {}), 0);
});
