import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { setPriority } from 'node:os';

/** A process of its own that scrapes as Prometheus does: gzip, one scrape after another at an interval. It stands on another machine. */

setPriority(0, 19);
let running = false;

process.on('message', async (order: { url?: string; intervalMilliseconds?: number; stop?: boolean }) => {
  if (order.stop) {
    running = false;
    return;
  }
  if (order.url === undefined) return;
  running = true;
  const durations: number[] = [];
  let bytes = 0;
  while (running) {
    const began = performance.now();
    const [response] = (await once(
      get(order.url, { headers: { 'accept-encoding': 'gzip', accept: 'application/openmetrics-text' } }),
      'response',
    )) as [IncomingMessage];
    bytes = 0;
    for await (const piece of response) bytes += (piece as Buffer).length;
    const took = performance.now() - began;
    durations.push(took);
    const rest = (order.intervalMilliseconds ?? 1000) - took;
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  }
  process.send?.({ durations, bytes });
});
process.on('disconnect', () => process.exit(0));
