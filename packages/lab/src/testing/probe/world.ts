import { eventually } from '@kmesh/api/testing';
import { EventRing } from '@kmesh/linux';
import {
  AccessLog,
  createConnectionObserver,
  LogFilter,
  MetricRecorder,
  startScrapeServer,
} from '@kmesh/probe';
import { createKernelResolver, KernelConnections, kmeshEventLayout, LiveFlowReports } from '@kmesh/runtime';
import { type KernelMeshOptions, startKernelMesh } from '../../mesh/kernel-mesh.ts';
import { keyOf, serviceOf, workloadOf } from '../../mesh/records.ts';
import { createLab } from '../../network/lab.ts';

/** A mesh with a client and a server pod, whose kernel events go into metrics and an access log in memory. */
export async function startProbeWorld(options: KernelMeshOptions = {}) {
  await using stack = new AsyncDisposableStack();
  const lab = await createLab();
  stack.defer(() => lab.close());
  const node = await lab.node();
  const mesh = await startKernelMesh(lab, options);
  stack.defer(() => mesh.close());
  const outside = await lab.outsideHost('vip');
  const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })];
  const service = serviceOf({ name: 'echo', vips: outside.addresses, ports: { 80: 8080, 81: 8081 } });
  await mesh.apply(service);
  await mesh.enrol(client, {
    pod: server,
    workload: workloadOf(server, { services: { [keyOf(service)]: {} } }),
  });
  const scrape = await startScrapeServer({ host: '127.0.0.1', port: 0 });
  stack.defer(() => scrape.close());
  const lines: string[] = [];
  const accessLog = new AccessLog({
    filter: new LogFilter(),
    format: 'json',
    writer: { write: (line) => lines.push(line), room: () => undefined, flushSync: () => undefined },
  });
  const recorder = new MetricRecorder(scrape.recorderChannel());
  const kernel = new KernelConnections({
    observer: createConnectionObserver({ recorder, accessLog }),
    resolver: createKernelResolver({
      view: mesh.state,
      tables: mesh.tables,
      network: '',
      podWorkload: (cookie, time) =>
        mesh.state.workloadAt(mesh.workloadOfPod.get(BigInt(cookie)) ?? '', time),
      arrivedDirectly: () => true,
      isServedHere: () => true,
    }),
  });
  const readRing = () =>
    new EventRing(mesh.object.map('events'), {
      recordSize: kmeshEventLayout.size,
      losses: mesh.object.map('events_lost'),
      onBatch: ({ bytes, count }) => kernel.batch(bytes, count),
    });
  let ring = readRing();
  stack.defer(() => ring.close());
  const reports = stack.use(
    new LiveFlowReports({
      object: mesh.object,
      connections: kernel,
      // Tests request reports themselves.
      intervalMilliseconds: 2 ** 30,
      onError: (error) => {
        throw error;
      },
    }),
  );
  const resources = stack.move();
  return {
    ...{ lab, node, mesh, client, server, service, lines, kernel, reports },
    get ring() {
      return ring;
    },
    /** Stops reading the ring until `resumeReading`: records that do not fit are lost. */
    pauseReading: () => ring.close(),
    resumeReading: () => {
      ring = readRing();
    },
    log: () => lines.map((line) => JSON.parse(line) as AccessLogLine),
    /** Resolves once all events before the call are logged: a refused connect follows them, and its line is removed. */
    async settled() {
      const port = 9;
      const host = service.vips[0]?.ip ?? '';
      // Refusals are not written while the ring has little room.
      await eventually('the ring is empty', () => ring.counters.pending === 0);
      await client.connect({ host, port }).then(
        () => Promise.reject(new Error(`port ${port} of the service is open`)),
        () => undefined,
      );
      const last = () => lines.findIndex((line) => line.includes(`"dst.addr":"${host}:${port}"`));
      await eventually('the refusal is logged', () => last() >= 0);
      lines.splice(last(), 1);
    },
    /** Scrapes; the result sums a metric over the lines that contain a text. */
    async metrics() {
      const text = await (await fetch(`http://127.0.0.1:${scrape.port}/metrics`)).text();
      return (name: string, selector = '') =>
        text
          .split('\n')
          .filter((line) => line.startsWith(`${name}{`) && line.includes(selector))
          .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export interface AccessLogLine {
  readonly level: string;
  readonly direction: string;
  readonly bytes_sent: number;
  readonly bytes_recv: number;
  readonly path: string;
  readonly error?: string;
  readonly 'src.addr': string;
  readonly 'dst.service': string;
  readonly 'src.workload': string;
  readonly 'dst.workload': string;
}
