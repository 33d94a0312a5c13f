import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import {
  type AccessLine,
  createLab,
  endpointText,
  keyOf,
  type LabMesh,
  type MeshPod,
  type Pod,
  type ProxyWatch,
  serviceOf,
  startMesh,
  sumOf,
} from '@kmesh/lab';
import { echo, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** One backend behind two services of the same target port, and a client on its node. */
interface Scene {
  readonly mesh: LabMesh;
  readonly client: Pod;
  readonly server: MeshPod;
  /** Of the second service. */
  readonly host: string;
}

/** Log lines and metrics of one connection. */
interface Observed {
  readonly lines: readonly AccessLine[];
  /** Labels of the series whose connections were opened, without the security policy. */
  readonly opened: readonly Readonly<Record<string, string>>[];
  readonly securityPolicies: readonly string[];
  /** `reporter flag` of the connections that failed. */
  readonly failed: readonly string[];
}

/** Nothing listens there. */
const CLOSED_PORT = 8099;

async function dialRefused({ client, host }: Scene): Promise<void> {
  const socket = await client.connect({ host, port: 81 }).catch(() => undefined);
  if (socket === undefined) return;
  socket.on('error', () => undefined);
  assert.notEqual(await ending(socket, 5_000), 'open');
}

/** A policy denies a connection that is open. */
async function denyLive({ mesh, client, host }: Scene, isBusy: boolean): Promise<void> {
  const socket = await open(client, host, 80);
  await exchange(socket);
  const principals = [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }] as const;
  const denial = policy('Deny', { principals });
  // The server sends continuously, so that its side may detect the end first.
  const pace = setInterval(() => isBusy && socket.write('more'), 1);
  socket.resume();
  try {
    await mesh.apply(denial);
    assert.notEqual(await ending(socket, 5_000), 'open');
  } finally {
    clearInterval(pace);
    socket.destroy();
  }
  await mesh.apply(without(denial));
}

/** Connections by their end, and the number of log lines for each. */
const acts = {
  service: { act: ({ client, host }: Scene) => echo(client, host, 80), lines: 2 },
  pod: { act: ({ client, server }: Scene) => echo(client, server.pod.addresses.v6), lines: 2 },
  refused: { act: dialRefused, lines: undefined },
  idle: { act: (scene: Scene) => denyLive(scene, false), lines: 2 },
  busy: { act: (scene: Scene) => denyLive(scene, true), lines: 2 },
} as const;
type Act = keyof typeof acts;

async function observe(scene: Scene, name: Act): Promise<Observed> {
  const { proxy } = scene.mesh.node();
  const [earlier, watch] = [await proxy.metrics(), await proxy.watch()];
  const { act, lines } = acts[name];
  await act(scene);
  await untilReported(watch, lines);
  const now = await proxy.metrics();
  const grown = (metric: string) =>
    now.filter((sample) => sample.name === metric && sample.value > sumOf(earlier, metric, sample.labels));
  const opened = grown('istio_tcp_connections_opened_total').map(({ labels }) => labels);
  return {
    lines: watch.lines,
    opened: opened
      .map(({ connection_security_policy: _, ...rest }) => rest)
      .sort((left, right) => (left['reporter'] ?? '').localeCompare(right['reporter'] ?? '')),
    securityPolicies: [...new Set(opened.map((labels) => labels['connection_security_policy'] ?? ''))],
    failed: grown('istio_tcp_connections_failed_total')
      .map(({ labels }) => `${labels['reporter']} ${labels['response_flags']}`)
      .sort(),
  };
}

/** Waits until both sides have reported a connection, or the client's side if only that one reports it. */
async function untilReported(watch: ProxyWatch, lines: number | undefined): Promise<void> {
  await watch.line('outbound');
  if (lines === 2) await watch.line('inbound');
}

async function observeAll(kernelPath: boolean): Promise<Record<Act, Observed> & Pick<Scene, 'server'>> {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath });
  const services: Record<string, Record<number, number>> = {};
  let host = '';
  for (const name of ['first', 'second']) {
    const { addresses } = await lab.outsideHost(`vip-${name}`);
    const service = serviceOf({ name, vips: addresses, ports: { 80: 8080, 81: CLOSED_PORT } });
    await mesh.apply(service);
    services[keyOf(service)] = {};
    host = addresses.v4;
  }
  const server = await mesh.pod({ name: 'server', workload: { services } });
  const { pod: client } = await mesh.pod({ name: 'client', captured: { variant: 'nftables' } });
  await server.pod.serve({ port: 8080, mode: 'double' });
  await untilEnrolled(mesh, [server.pod, client]);
  const scene = { mesh, client, server, host };
  const results: Partial<Record<Act, Observed>> = {};
  for (const name of Object.keys(acts) as Act[]) results[name] = await observe(scene, name);
  return { ...(results as Record<Act, Observed>), server };
}

const named = ['src.workload', 'src.identity', 'dst.service', 'dst.workload', 'dst.identity', 'direction'];

/** Peers, service and end of the connection, by side. */
function namesOf({ lines }: Observed, direction?: string): unknown[] {
  return lines
    .filter(({ fields }) => direction === undefined || fields['direction'] === direction)
    .map(({ level, fields }) => [level, ...named.map((name) => fields[name])])
    .sort();
}

describe('metrics and log of a connection between two pods of one node', () => {
  let kernel: Awaited<ReturnType<typeof observeAll>>;
  let tunnel: Awaited<ReturnType<typeof observeAll>>;

  before(async () => {
    kernel = await observeAll(true);
    tunnel = await observeAll(false);
  });

  for (const what of ['service', 'pod'] as const) {
    test(`for a dialled ${what} the kernel path names the same peers, principals and service as the tunnel`, () => {
      for (const [path, of] of Object.entries({ kernel, tunnel })) {
        const { lines } = of[what];
        assert.deepEqual(
          lines.map(({ fields }) => [fields['path'], fields['src.identity'], fields['dst.identity']]),
          Array(2).fill([
            path,
            ...['client', 'server'].map((name) => `spiffe://cluster.local/ns/default/sa/sa-${name}`),
          ]),
        );
      }
      assert.deepEqual(namesOf(kernel[what]), namesOf(tunnel[what]));
      assert.deepEqual(kernel[what].opened, tunnel[what].opened);
      assert.equal(kernel[what].opened.length, 2);
      for (const labels of kernel[what].opened) {
        assert.match(labels['source_principal'] ?? '', /sa\/sa-client$/);
        assert.match(labels['destination_principal'] ?? '', /sa\/sa-server$/);
        if (what === 'service') assert.equal(labels['destination_service_name'], 'second');
      }
      // Plaintext has no other security policy.
      assert.deepEqual(
        [kernel[what].securityPolicies, tunnel[what].securityPolicies],
        [['unknown'], ['mutual_tls']],
      );
    });
  }

  test('if the application refuses, the client’s side fails once, and the log names the application’s port', () => {
    for (const { refused, server } of [kernel, tunnel]) {
      const outbound = refused.lines.filter(({ fields }) => fields['direction'] === 'outbound');
      assert.equal(outbound.length, 1);
      const application = endpointText(server.pod.addresses.v4, CLOSED_PORT);
      assert.ok(outbound[0]?.fields['error']?.includes(application), JSON.stringify(outbound[0]?.fields));
      assert.deepEqual(
        refused.failed.filter((text) => text.startsWith('source')),
        ['source CONNECT'],
      );
    }
    assert.deepEqual(namesOf(kernel.refused, 'outbound'), namesOf(tunnel.refused, 'outbound'));
  });

  for (const what of ['idle', 'busy'] as const) {
    test(`a policy that ends a live, ${what} connection is a denial, which the server’s side counts and logs once`, () => {
      for (const [path, of] of Object.entries({ kernel, tunnel })) {
        const { lines, failed } = of[what];
        assert.equal(lines.length, 2, path);
        assert.deepEqual(
          failed.filter((text) => text.startsWith('destination')),
          ['destination DENY'],
          path,
        );
        const [inbound] = lines.filter(({ fields }) => fields['direction'] === 'inbound');
        assert.match(inbound?.fields['error'] ?? '', /^closed after a policy change/, path);
      }
      assert.deepEqual(namesOf(kernel[what], 'inbound'), namesOf(tunnel[what], 'inbound'));
      assert.deepEqual(
        kernel[what].failed.filter((text) => text.startsWith('source')),
        [],
      );
    });
  }
});
