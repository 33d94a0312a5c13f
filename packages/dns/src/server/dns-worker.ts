import { parentPort, workerData } from 'node:worker_threads';
import { requestShortSlices } from '@kmesh/linux';
import { createDnsMetrics, type DnsMetrics, MetricRecorder, retireDeparted } from '@kmesh/probe';
import type { ForwardOutcome } from '../forward/forwarder.ts';
import { Budget } from '../forward/forwarder.ts';
import { type ResolvConf, readResolvConf } from '../forward/resolv-conf.ts';
import { NameTable } from '../names/resolve.ts';
import type { Query } from '../wire/query.ts';
import { Demands } from './demands.ts';
import type { QueryObserver, Transport } from './pod-server.ts';
import { types } from './pod-server.ts';
import type { ClientWorkload, DnsThreadData, FromThread, QueryLine, ToThread } from './protocol.ts';
import { ServedPod } from './served-pod.ts';

/** Limit of forwarded queries of all pods. */
const maximumQueries = 4_096;
const reportMilliseconds = 250;
/** Limit of log lines in one report. */
const maximumLines = 1_000;
const readConfMilliseconds = 5_000;

const data = workerData as DnsThreadData;
const port = parentPort as NonNullable<typeof parentPort>;
const table = new NameTable();
const pods = new Map<string, ServedPod>();
const budget = new Budget(maximumQueries);
const troubles = new Map<string, { uid: string; server: string; reason: string; count: number }>();
let generation = 0;
let ownConf: ResolvConf = { servers: [], search: [] };
let logsQueries = false;
let lines: QueryLine[] = [];
let linesLeft = 0;
let draining = false;
const metrics = startMetrics();
// A query takes a few microseconds, but would wait a thousand times as long for the time slices of busy threads.
requestShortSlices();
const demands = data.onDemand
  ? new Demands(data.clusterDomain, (id, names) => post({ kind: 'demand', id, names }))
  : undefined;

// No top-level await: the single executable contains this module as CommonJS.
void readOwnConf().then(() => {
  setInterval(() => void readOwnConf(), readConfMilliseconds);
  setInterval(report, reportMilliseconds);
  port.on('message', (message: ToThread) => receive(message));
  post({ kind: 'ready' });
});

async function readOwnConf(): Promise<void> {
  ownConf = (await readResolvConf(data.resolvConf)) ?? ownConf;
}

function post(message: FromThread): void {
  port.postMessage(message);
}

function receive(message: ToThread): void {
  switch (message.kind) {
    case 'names':
      for (const record of message.put) table.put(record);
      for (const key of message.remove) table.remove(key);
      generation++;
      break;
    case 'pod':
      pods.get(message.uid)?.close();
      addPod(message);
      break;
    case 'client':
      pods.get(message.uid)?.setClient(message.client);
      break;
    case 'remove':
      pods.get(message.uid)?.close();
      pods.delete(message.uid);
      break;
    case 'log':
      logsQueries = message.queries;
      break;
    case 'demanded':
      demands?.done(message.id);
      break;
    case 'drain':
      draining = true;
      for (const pod of pods.values()) pod.drain();
      break;
  }
}

function addPod({ uid, namespace, sockets }: ToThread & { kind: 'pod' }): void {
  try {
    const pod: ServedPod = new ServedPod({
      ...{ namespace, table, sockets, budget },
      generation: () => generation,
      settings: {
        clusterDomain: data.clusterDomain,
        preferredNamespace: data.preferredNamespace,
        ipv6: data.ipv6,
      },
      mark: data.mark,
      port: data.upstreamPort,
      ownConf: () => ownConf,
      ownSearch: data.ownSearch,
      observer: observerOf(uid, namespace, () => pod.client),
      onRejected: (server, verdict) => trouble(uid, server, verdict),
      ...(demands === undefined ? {} : { demand: (name) => demands.request(name, namespace) }),
    });
    pods.set(uid, pod);
  } catch (error) {
    // Not thrown: that would end the service of all pods.
    post({ kind: 'unserved', uid, error: String(error) });
  }
}

function observerOf(uid: string, namespace: string, client: () => ServedPod['client']): QueryObserver {
  let known: ReturnType<typeof client>;
  let source: ({ readonly namespace: string } & ClientWorkload) | undefined;
  const question = (query: Query, protocol: Transport) => {
    const workload = client();
    if (workload !== known) {
      known = workload;
      source = workload && { namespace, ...workload };
    }
    return { queryType: types.record(query.type), protocol, source };
  };
  return {
    asked: (query, transport) => metrics?.request(question(query, transport)),
    forwarded(query, transport, outcome: ForwardOutcome) {
      const isAnswered = outcome.reason === 'answered' || outcome.reason === 'joined';
      metrics?.upstream(question(query, transport), outcome.seconds, !isAnswered);
      if (!isAnswered) trouble(uid, outcome.server ?? '', outcome.reason);
    },
    get logs() {
      return logsQueries;
    },
    line(query, result, endpoints) {
      if (lines.length >= maximumLines) {
        linesLeft++;
        return;
      }
      const domain = query.name === undefined ? '(no host name)' : `${query.name}.`;
      lines.push({ uid, query: types.record(query.type), domain, result, endpoints });
    },
  };
}

function trouble(uid: string, server: string, reason: string): void {
  const key = `${uid} ${server} ${reason}`;
  const known = troubles.get(key);
  if (known !== undefined) known.count++;
  else troubles.set(key, { uid, server, reason, count: 1 });
}

function report(): void {
  if (lines.length > 0) post({ kind: 'queries', lines, left: linesLeft });
  lines = [];
  linesLeft = 0;
  if (troubles.size > 0) post({ kind: 'troubles', troubles: [...troubles.values()] });
  troubles.clear();
  if (draining && budget.used === 0) post({ kind: 'drained' });
}

function startMetrics(): DnsMetrics | undefined {
  if (data.recorder === undefined) return undefined;
  const recorder = new MetricRecorder(data.recorder);
  let present = new Set<string>();
  retireDeparted(recorder, {
    begin: () => {
      const clients = [...pods.values()].flatMap(({ namespace, client }) =>
        client === undefined ? [] : [`${namespace}/${client.workloadName}`],
      );
      present = new Set(clients);
    },
    has: (subject) => present.has(subject),
    end: () => present.clear(),
  });
  return createDnsMetrics(recorder);
}
