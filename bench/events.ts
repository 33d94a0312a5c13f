/**
 * Kernel events into metrics and access log: the highest rate without loss, and the CPU cost of one connection in the
 * reading thread: reported once, at its end, or twice, as when the access log shows openings. The events come from a
 * kernel program in another thread, through a ring of the product's size.
 */
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type EventEmitter, emitterResolver, startEventEmitter } from '@kmesh/lab/testing/probe/emitter.ts';
import { workload } from '@kmesh/lab/testing/probe/traffic.ts';
import { EventRing } from '@kmesh/linux';
import {
  AccessLog,
  createConnectionObserver,
  LiveConnections,
  LogFilter,
  type LogThread,
  MetricRecorder,
  startLogThread,
  startScrapeServer,
} from '@kmesh/probe';
import { KernelConnections, kmeshEventLayout } from '@kmesh/runtime';
import {
  atLeast,
  atMost,
  environment,
  type Figure,
  figure,
  type Ratio,
  type Report,
} from './harness/report.ts';
import { rounds } from './harness/settings.ts';

const required = 100_000;
const maximumNanoseconds = 1000;
const rates = [required, 200_000, 400_000];
const seconds = 2;
const ROUNDS = rounds(3, 2);

/** The suite `events`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  const nowhere = openSync('/dev/null', 'w');
  const logThread = startLogThread(nowhere);
  const contestants = [
    { name: 'metrics', log: undefined, openings: false },
    { name: 'metrics and access log', log: logThread, openings: false },
    { name: 'metrics, told of openings', log: undefined, openings: true },
  ];
  for (const { name, log, openings } of contestants) {
    const costs: number[] = [];
    let highest = 0;
    for (const rate of rates) {
      const losses: number[] = [];
      const achieved: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const result = await measure(rate, log, openings);
        losses.push(result.losses);
        achieved.push(result.eventsPerSecond);
        if (rate === required) costs.push(result.nanosecondsPerConnection);
      }
      figures.push(figure(`events lost at ${rate}/s`, name, 'events', losses));
      if (losses.every((lost) => lost === 0)) highest = Math.max(highest, Math.min(...achieved));
    }
    const cost = figure('cost of one connection', name, 'ns', costs);
    figures.push(cost);
    if (log === undefined && !openings)
      ratios.push(atMost('one connection from its events to metrics, ns', cost.value, maximumNanoseconds));
    ratios.push(atLeast(`events per second without a loss, ${name}`, highest, required * 0.99));
  }
  closeSync(nowhere);
  const recording = figure('cost of recording one connection', 'metrics', 'ns', await recordingCosts());
  figures.push(recording);
  ratios.push(atMost('recording one connection, ns', recording.value, maximumNanoseconds));
  return { suite: 'events', environment: environment(), figures, ratios };
}

/** Measures only the recording of a connection, the same for every path: an opening and a closing with its bytes. */
async function recordingCosts(): Promise<number[]> {
  const server = await startScrapeServer({ host: '127.0.0.1', port: 0 });
  const recorder = new MetricRecorder(server.recorderChannel());
  const observer = new LiveConnections(createConnectionObserver({ recorder }));
  const destination = workload('server', '10.1.0.1');
  const sources = Array.from({ length: 64 }, (_, index) => workload(`client-${index}`, '10.0.0.1'));
  const destinationService = { name: 'echo', namespace: 'default', hostname: 'echo.default' };
  const start = {
    reporter: 'source',
    path: 'tunnel',
    sourceAddress: '10.0.0.1:41000',
    destinationAddress: '10.1.0.1:8080',
    securityPolicy: 'unknown',
    destination,
    destinationService,
  } as const;
  const count = 200_000;
  const costs = Array.from({ length: ROUNDS + 1 }, () => {
    const began = performance.now();
    for (let index = 0; index < count; index++) {
      const connection = observer.opened({ ...start, source: sources[index % sources.length] });
      connection.close({ flag: '-', bytesFromClient: index, bytesFromServer: 2 * index });
    }
    return ((performance.now() - began) * 1_000_000) / count;
  });
  recorder.close();
  await server.close();
  // The first round warms up.
  return costs.slice(1);
}

interface Measured {
  readonly losses: number;
  readonly eventsPerSecond: number;
  readonly nanosecondsPerConnection: number;
}

async function measure(
  eventsPerSecond: number,
  log: LogThread | undefined,
  openings: boolean,
): Promise<Measured> {
  const server = await startScrapeServer({ host: '127.0.0.1', port: 0 });
  const recorder = new MetricRecorder(server.recorderChannel());
  const accessLog = log && new AccessLog({ filter: new LogFilter(), writer: log.writer, format: 'plain' });
  // Composed as in the daemon.
  const observer = new LiveConnections(
    createConnectionObserver(accessLog ? { recorder, accessLog } : { recorder }),
  );
  const connections = new KernelConnections({ observer, resolver: emitterResolver() });
  const emitter = await startEventEmitter(openings);
  let busy = 0;
  const ring = new EventRing(emitter.ring, {
    recordSize: kmeshEventLayout.size,
    losses: emitter.losses,
    onBatch({ bytes, count }) {
      const began = performance.now();
      connections.batch(bytes, count);
      busy += performance.now() - began;
    },
  });
  try {
    const milliseconds = await emitFromThread(emitter, eventsPerSecond);
    while (ring.counters.pending > 0) await sleep(5);
    await sleep(20);
    const { records, losses } = ring.counters;
    return {
      losses,
      eventsPerSecond: (emitter.emitted / milliseconds) * 1000,
      nanosecondsPerConnection: (busy * 1_000_000) / (openings ? records / 2 : records),
    };
  } finally {
    ring.close();
    emitter[Symbol.dispose]();
    await server.close();
  }
}

async function emitFromThread(emitter: EventEmitter, eventsPerSecond: number): Promise<number> {
  const worker = new Worker(new URL('./events/emit-worker.ts', import.meta.url), {
    workerData: { descriptor: emitter.duplicateProgram(), eventsPerSecond, seconds },
  });
  const ended = once(worker, 'exit');
  const [milliseconds] = (await once(worker, 'message')) as [number];
  await ended;
  return milliseconds;
}
