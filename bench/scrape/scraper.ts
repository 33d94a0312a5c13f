import { once } from 'node:events';
import { connect } from 'node:net';

/**
 * A process of its own that asks for gzip as Prometheus does, one scrape after another at an interval. Prometheus stands on
 * another machine: here what comes is thrown away, and at idle priority, so that the scraper takes nothing from the proxy.
 */

let running = false;

/** When a scrape began and ended, microseconds of CLOCK_MONOTONIC. */
export type Span = readonly [began: number, ended: number];

const now = () => Number(process.hrtime.bigint() / 1000n);

process.on('message', async (order: { port?: number; intervalMilliseconds?: number; stop?: boolean }) => {
  if (order.stop) {
    running = false;
    return;
  }
  if (order.port === undefined) return;
  running = true;
  const spans: Span[] = [];
  let bytes = 0;
  const interval = (order.intervalMilliseconds ?? 1000) * 1000;
  while (running) {
    const began = now();
    bytes = await scrape(order.port);
    const ended = now();
    spans.push([began, ended]);
    const rest = (interval - (ended - began)) / 1000;
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  }
  process.send?.({ spans, bytes });
});
process.on('disconnect', () => process.exit(0));

async function scrape(port: number): Promise<number> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: { buffer: Buffer.alloc(256 * 1024), callback: () => true },
  });
  socket.write(
    'GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n' +
      'Accept-Encoding: gzip\r\nConnection: close\r\n\r\n',
  );
  await once(socket, 'close');
  return socket.bytesRead;
}
