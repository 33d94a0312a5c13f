/**
 * Latency at a fixed rate, open loop: `paced.ts <address> <port> <requests per second> <seconds>`. Requests start on
 * their tick regardless of other requests; prints `{p50, p90, p99}` in microseconds, measured from the tick.
 */
import { connect, type Socket } from 'node:net';

const [address = '', port = '', rateText = '1000', secondsText = '2'] = process.argv.slice(2);
const rate = Number(rateText);
const total = rate * Number(secondsText);
const request = Buffer.from('GET / HTTP/1.1\r\nHost: bench\r\n\r\n');
const idle: Socket[] = [];
const started = new Map<Socket, number>();
const latencies: number[] = [];

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: Number(port), noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
    socket.on('data', () => {
      const since = started.get(socket);
      if (since === undefined) return;
      started.delete(socket);
      latencies.push(performance.now() - since);
      idle.push(socket);
    });
  });
}

idle.push(...(await Promise.all(Array.from({ length: 32 }, open))));
const began = performance.now() + 50;
let sent = 0;
while (sent < total) {
  const due = began + (sent * 1000) / rate;
  const wait = due - performance.now();
  if (wait > 0) {
    await new Promise((resolve) => (wait > 2 ? setTimeout(resolve, wait - 1) : setImmediate(resolve)));
    continue;
  }
  const socket = idle.shift();
  if (socket === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
    continue;
  }
  started.set(socket, due);
  socket.write(request);
  sent += 1;
}
while (started.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
const sorted = latencies.toSorted((left, right) => left - right);
const at = (share: number): number => Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 1000);
console.log(JSON.stringify({ p50: at(0.5), p90: at(0.9), p99: at(0.99) }));
process.exit(0);
