import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dialing, DialReport, Host, Pod } from '@kmesh/lab';
import {
  type AgentNode,
  type DaemonMesh,
  metric,
  startDaemonMesh,
} from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import type { DaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';
import { untilServed } from '@kmesh/lab/testing/traffic/echo.ts';
import { connect, readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** Number of replacements of the node's proxy under load. */
const HANDOVERS = 2;
/** Connections that are open at SIGTERM of the old instance and end within its drain time. */
const LONG_CONNECTIONS = 24;
const DRAIN_SECONDS = 6;
const OPENED = 'istio_tcp_connections_opened_total';

interface Load {
  readonly name: string;
  readonly dialing: Dialing;
}

/** An open connection that exchanges bytes until it is stopped; `broken` has its failure. */
interface LongConnection {
  readonly socket: Socket;
  readonly ended: Promise<void>;
  stop: boolean;
  broken: string | undefined;
}

async function startLong(from: Host, to: string): Promise<LongConnection> {
  const socket = await connect(from, to, 8081);
  const long: LongConnection = { socket, ended: Promise.resolve(), stop: false, broken: undefined };
  const talk = async (): Promise<void> => {
    for (let round = 0; !long.stop; round += 1) {
      const text = `message ${round}`;
      socket.write(text);
      assert.equal((await readExactly(socket, text.length)).toString(), text);
      await sleep(100);
    }
    const end = new Promise<void>((resolve, reject) => {
      socket.once('end', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed without an end')));
    });
    socket.end();
    await end;
  };
  const ended = talk()
    .catch((error: Error) => {
      long.broken = `${from.name}: ${error.message}`;
    })
    .finally(() => socket.destroy());
  return Object.assign(long, { ended });
}

/**
 * Replaces the node's proxy as a rolling update does. Returns the new one, and the long connections that were closed.
 */
async function replace(
  mesh: DaemonMesh,
  place: AgentNode,
  old: DaemonProcess,
  clients: readonly (readonly [Host, string])[],
): Promise<{ next: DaemonProcess; cut: string[]; tookMs: number }> {
  const longs = await Promise.all(
    Array.from({ length: LONG_CONNECTIONS }, (_, index) => {
      const [from, to] = clients[index % clients.length] as readonly [Host, string];
      return startLong(from, to);
    }),
  );
  const next = await mesh.daemon(place, { environment: environmentOf() });
  await next.ready();
  await next.until(
    'it accepts connections beside the old one',
    async () => ((await metric(next, OPENED)) ?? 0) > 0,
  );
  const begun = performance.now();
  old.kill('SIGTERM');
  const ends = longs.map(async (long, index) => {
    await sleep(100 + (index * (DRAIN_SECONDS - 2) * 1_000) / LONG_CONNECTIONS);
    long.stop = true;
    await long.ended;
  });
  await Promise.all(ends);
  assert.deepEqual(await old.ended, { code: 0, signal: null });
  const tookMs = performance.now() - begun;
  return { next, cut: longs.flatMap(({ broken }) => broken ?? []), tookMs };
}

function environmentOf(): Record<string, string> {
  return { CONNECTION_TERMINATION_DEADLINE: `${DRAIN_SECONDS}s`, RUST_LOG: 'info,access=error' };
}

function describeReport(name: string, report: DialReport): string {
  const failures = report.failures.map(({ step, reason, count }) => `${count} ${step} ${reason}`).join(', ');
  const rate = Math.round(report.connections / (report.elapsedNs / 1e9));
  const milliseconds = (nanoseconds = 0): string => (nanoseconds / 1e6).toFixed(1);
  const { p50, p99, max } = report.latencyNs ?? {};
  return (
    `${name}: ${report.connections} new connections (${rate}/s), p50 ${milliseconds(p50)} ms, ` +
    `p99 ${milliseconds(p99)} ms, longest ${milliseconds(max)} ms, ${report.failed} failed${failures && `: ${failures}`}`
  );
}

test(`${HANDOVERS} hand-overs under load: at least 99.9 % of new connections succeed, and none that ends before the deadline is closed`, {
  timeout: 180_000,
}, async (context) => {
  await using mesh = await startDaemonMesh();
  const place = await mesh.node();
  const far = await mesh.node();
  const server = await mesh.pod(place.node);
  const near = await mesh.pod(place.node);
  const remote = await mesh.pod(far.node);
  const stranger = await mesh.lab.outsideHost('stranger');
  // A slow link queues packets, so that handshakes are pending at any moment.
  const narrow = 'rate 1mbit burst 1600 latency 200ms'.split(' ');
  await stranger.run('tc', ['qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', ...narrow]);
  for (const pod of [server, near]) await place.agent.addPod(pod);
  await far.agent.addPod(remote);
  await server.serve({ port: 8080, mode: 'http' });
  await server.serve({ port: 8081, mode: 'echo' });
  let current: DaemonProcess = await mesh.daemon(place, { environment: environmentOf() });
  const other = await mesh.daemon(far, { environment: { POOL_MAX_STREAMS_PER_CONNECTION: '4' } });
  await Promise.all([current.ready(), other.ready()]);

  const { v4, v6 } = server.addresses;
  const load = (name: string, from: Pod | Host, concurrency: number): Load => ({
    name,
    dialing: from.startDialing({
      to: [`${v4}:8080`, `[${v6}]:8080`],
      connections: 0,
      concurrency,
      mode: 'http',
    }),
  });
  const loads = [
    load('pod of the same node', near, 4),
    load('pod of another node', remote, 4),
    load('client outside the mesh', stranger, 8),
  ];
  const cut: string[] = [];
  for (let round = 1; round <= HANDOVERS; round += 1) {
    await untilServed([server], 100);
    const result = await replace(mesh, place, current, [
      [near, v4],
      [remote, v6],
      [stranger, v4],
    ]);
    current = result.next;
    cut.push(...result.cut);
    context.diagnostic(`hand-over ${round}: the old instance ended after ${Math.round(result.tookMs)} ms`);
  }
  let tried = 0;
  let failed = 0;
  for (const { name, dialing } of loads) {
    const report = await dialing.stop();
    context.diagnostic(describeReport(name, report));
    tried += report.connections;
    failed += report.failed;
  }
  const counters = await server.run('nstat', ['-asz', 'TcpExtTCPMigrateReq*', 'TcpExtListenDrops']);
  const counted = [...counters.stdout.matchAll(/^TcpExt(\w+) +(\d+)/gm)].map(
    ([, name, count]) => `${name} ${count}`,
  );
  context.diagnostic(`kernel counters of the server's pod: ${counted.join(', ')}`);
  const share = (100 * (tried - failed)) / tried;
  context.diagnostic(`${tried} new connections, ${failed} failed: ${share.toFixed(3)} % succeeded`);
  context.diagnostic(`${HANDOVERS * LONG_CONNECTIONS} long connections, ${cut.length} cut`);
  assert.ok(tried > 2_500, `${tried} connections`);
  assert.ok(failed <= tried / 1_000, `${failed} of ${tried} failed`);
  assert.deepEqual(cut, []);
});
