import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createLab, keyOf, type Pod, serviceOf, startKernelMesh, startMesh, workloadOf } from '@kmesh/lab';
import { startProbeWorld } from '@kmesh/lab/testing/probe/world.ts';
import { untilAcknowledged } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';
import type { SceneRow } from './report.ts';

const CONNECTIONS = 40;

/** An emulated machine needs this long to verify the programs. */
const READY_MS = 180_000;

/** Real connections between real pods, on the running kernel. */
export async function playScenes(): Promise<SceneRow[]> {
  return [
    await play('connect hook alone: one service, two endpoints', hooksAlone),
    await play('an open connection, then half closed: bytes of both sides', openConnection),
    await play('daemon with pins: two captured pods behind one service', captured),
  ];
}

async function play(name: string, scene: () => Promise<string>): Promise<SceneRow> {
  try {
    return { name, ok: true, detail: await scene() };
  } catch (error) {
    return {
      name,
      ok: false,
      detail: error instanceof Error ? (error.stack ?? error.message) : String(error),
    };
  }
}

async function hooksAlone(): Promise<string> {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const client = await node.pod({ name: 'client' });
  const servers = [await node.pod({ name: 'one' }), await node.pod({ name: 'two' })];
  const service = shop(lab.serviceAddress());
  const services = { [keyOf(service)]: {} };
  for (const server of servers) await server.serve({ port: 8080 });
  await mesh.apply(service, ...servers.map((server) => workloadOf(server, { services })));
  await mesh.enrol(client);
  const counts = await dialAll(client, '10.96.0.1:80');
  const { kernelBalanced = 0 } = mesh.decisions();
  if (kernelBalanced !== CONNECTIONS) throw new Error(`the hook counted ${kernelBalanced} connections`);
  return counts;
}

async function openConnection(): Promise<string> {
  await using world = await startProbeWorld();
  const bytes = 1_000;
  await world.server.listen({ port: 8080 }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (data) => socket.write(data));
  });
  const socket = await world.client.connect({ host: world.service.vips[0]?.ip ?? '', port: 80 });
  socket.on('error', () => undefined);
  socket.resume().write(Buffer.alloc(bytes));
  await untilAcknowledged([world.client, world.server], 8080, bytes);
  const found: string[] = [];
  for (const state of ['open', 'half closed']) {
    await world.reports.take();
    const metric = await world.metrics();
    const counts = ['source', 'destination'].flatMap((reporter) =>
      ['received', 'sent'].map((way) => metric(`istio_tcp_${way}_bytes_total`, `reporter="${reporter}"`)),
    );
    if (world.kernel.open !== 2 || counts.some((count) => count !== bytes))
      throw new Error(`${state}: ${world.kernel.open} sides are open, with ${counts.join(', ')} bytes`);
    found.push(`${state} ${counts.join(', ')}`);
    if (socket.writableEnded) continue;
    socket.end();
    await once(socket, 'finish');
  }
  socket.destroy();
  return found.join('; ');
}

async function captured(): Promise<string> {
  await using lab = await createLab();
  await lab.node();
  const pins = `${await lab.bpffs()}/kmesh`;
  const environment = { KMESH_PINS: pins, RUST_LOG: 'warn,access=info' };
  await using mesh = await startMesh(lab, { kernelPath: true, readyMilliseconds: READY_MS, environment });
  const service = shop(lab.serviceAddress());
  await mesh.apply(service);
  const services = { [keyOf(service)]: {} };
  const { pod: client } = await mesh.pod({ name: 'client' });
  for (const name of ['one', 'two']) {
    const { pod } = await mesh.pod({ name, workload: { services } });
    await pod.serve({ port: 8080 });
  }
  // Enrolment follows the CNI agent's message by a moment; until then the tunnel path serves.
  for (let tries = 0; tries < 100; tries++) {
    const watch = await mesh.node().proxy.watch();
    const counts = await dialAll(client, '10.96.0.1:80');
    for (let wait = 0; wait < 40 && watch.lines.length < CONNECTIONS; wait++) await delay(50);
    const kernel = watch.lines.filter(({ fields }) => fields['path'] === 'kernel').length;
    if (kernel >= CONNECTIONS) return `${counts}; access log: path=kernel`;
  }
  throw new Error(
    `no connections took the kernel path; the log ends with:\n${mesh.node().proxy.log.slice(-2000)}`,
  );
}

/** @returns the number of answers by endpoint */
async function dialAll(client: Pod, to: string): Promise<string> {
  const report = await client.dial({ to, connections: CONNECTIONS, concurrency: 4 });
  if (report.failed > 0)
    throw new Error(report.failures.map((failure) => JSON.stringify(failure)).join('; '));
  const answers = Object.entries(report.byEndpoint).sort();
  if (answers.length !== 2)
    throw new Error(`not both endpoints answered: ${JSON.stringify(report.byEndpoint)}`);
  return answers.map(([name, count]) => `${name} ${count}`).join(', ');
}

function shop(vips: { v4: string; v6: string }) {
  return serviceOf({ name: 'shop', vips, ports: { 80: 8080 } });
}
