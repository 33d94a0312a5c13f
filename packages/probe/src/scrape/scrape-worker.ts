import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setPriority } from 'node:os';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { ScrapeWorkerData, ToMain, ToWorker } from '../metrics/messages.ts';
import { MetricStore } from '../metrics/store.ts';
import { contentEncoding, contentType, writeExposition } from './body.ts';
import { limitConnections, oneAtATime, Turnstile } from './limits.ts';

/** The program of the scrape thread: an HTTP server that does not slow other threads. */

const data = workerData as ScrapeWorkerData;
const store = new MetricStore();
/** The process metrics; the library is loaded after the rest of the start. */
let processText: Promise<() => Promise<string>> | undefined;
const loadProcessMilliseconds = 1_000;
/** A slower reader is disconnected. */
const longestScrapeMilliseconds = 20_000;
/** Maximum age of the rows; beyond it a scrape waits until it can refresh them. */
const longestStaleMilliseconds = 10_000;
/** Last report of the control thread, used when it is too busy to answer in time. */
let controlText = '';
let nextQuestion = 0;
const questions = new Map<number, () => void>();
/** Time of the last refresh of the rows, which must not move while a scrape is written. */
let refreshedAt = performance.now();
const turns = new Turnstile(
  { concurrent: 4, perClient: 4, waiting: 32 },
  () => performance.now() - refreshedAt > longestStaleMilliseconds,
);

async function loadProcessText(): Promise<() => Promise<string>> {
  const { createProcessRegistry } = await import('./process-metrics.ts');
  const { registryText } = await import('../metrics/registry-text.ts');
  const registry = createProcessRegistry(data.budget, data.droppedLines);
  return () => registryText(registry);
}

function tell(message: ToMain): void {
  parentPort?.postMessage(message);
}

/** Requests the control thread's registry and waits at most a second. */
function requestControlMetrics(): Promise<void> {
  return new Promise((resolve) => {
    const question = nextQuestion++;
    const timer = setTimeout(done, 1000);
    function done(): void {
      clearTimeout(timer);
      questions.delete(question);
      resolve();
    }
    questions.set(question, done);
    tell({ kind: 'collect', question });
  });
}

async function scrape(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const turn = turns.enter(request.socket.remoteAddress ?? '');
  if (turn === undefined) {
    response.writeHead(503, { 'Content-Type': 'text/plain; charset=utf-8', 'Retry-After': '5' });
    response.end('Too many scrapes at a time.\n');
    return;
  }
  using _ = await turn;
  if (response.destroyed) return;
  const deadline = setTimeout(() => response.destroy(), longestScrapeMilliseconds);
  try {
    await answer(request, response);
  } finally {
    clearTimeout(deadline);
  }
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  await requestControlMetrics();
  processText ??= loadProcessText();
  const texts = [controlText, await (await processText)()];
  if (turns.taken === 1) refresh();
  try {
    const encoding = contentEncoding(request.headers['accept-encoding']);
    response.setHeader('Content-Type', contentType(request.headers.accept));
    if (encoding !== 'identity') response.setHeader('Content-Encoding', encoding);
    response.setHeader('Vary', 'Accept, Accept-Encoding');
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    await writeExposition(response, encoding, store, texts);
  } catch {
    response.destroy();
  }
}

function refresh(): void {
  store.refresh();
  refreshedAt = performance.now();
}

const server = createServer(
  {
    maxHeaderSize: 8192,
    headersTimeout: 2000,
    requestTimeout: 10_000,
    connectionsCheckingInterval: 500,
    noDelay: true,
  },
  oneAtATime((request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/metrics' || path === '/stats/prometheus') {
      void scrape(request, response);
    } else {
      response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' });
      response.end('Not found. Metrics are at /metrics and /stats/prometheus.\n');
    }
  }),
);
limitConnections(server, { total: 256, perClient: 32 });
// A client that stops reading must not hold a scrape forever.
server.setTimeout(30_000);

server.on('error', (error: NodeJS.ErrnoException) =>
  tell({ kind: 'failed', reason: error.message, code: error.code }),
);
server.listen({ host: data.host, port: data.port, reusePort: data.reusePort }, () => {
  // On Linux the priority is per thread: proxied bytes and xDS come first, but the start waits for this thread.
  setPriority(0, 10);
  const address = server.address() as AddressInfo;
  tell({ kind: 'listening', port: address.port, address: address.address });
});

setTimeout(() => {
  processText ??= loadProcessText();
}, loadProcessMilliseconds).unref();

// Added and removed rows are also processed between scrapes, so that the queue stays short.
const idle = setInterval(() => {
  if (turns.taken === 0) refresh();
}, 5000);
idle.unref();

parentPort?.on('message', (message: ToWorker) => {
  if (message.kind === 'recorder') store.attach(message.port as MessagePort);
  else if (message.kind === 'collected') {
    controlText = message.text;
    questions.get(message.question)?.();
  } else {
    server.close(() => {
      store.close();
      parentPort?.close();
    });
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), message.deadlineMilliseconds).unref();
  }
});
