import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * A process of its own: an echo server, and a client that sends small messages through a proxy at a steady pace.
 * Protocol on IPC: it says its echo port; `{ port }` opens the connections; `{ milliseconds }` runs one round, answered
 * with the 50th and 99th percentile in microseconds.
 */

const connections = 16;
const intervalMilliseconds = 8;
const message = Buffer.alloc(512, 'x');

const echo = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => undefined);
  socket.pipe(socket);
});
echo.listen(0, '127.0.0.1');
await once(echo, 'listening');
process.send?.({ echo: (echo.address() as AddressInfo).port });

const sockets: Socket[] = [];

process.on('message', async (order: { port?: number; milliseconds?: number }) => {
  if (order.port !== undefined) {
    for (let index = 0; index < connections; index++) {
      const socket = connect({ port: order.port, host: '127.0.0.1', noDelay: true });
      await once(socket, 'connect');
      sockets.push(socket);
    }
    process.send?.({ connected: true });
  } else if (order.milliseconds !== undefined) {
    process.send?.(await round(order.milliseconds));
  }
});
process.on('disconnect', () => process.exit(0));

async function round(milliseconds: number): Promise<{ p50: number; p99: number; count: number }> {
  const latencies: number[] = [];
  const until = performance.now() + milliseconds;
  await Promise.all(sockets.map((socket, index) => converse(socket, index, until, latencies)));
  latencies.sort((left, right) => left - right);
  const at = (part: number) => latencies[Math.floor(latencies.length * part)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), count: latencies.length };
}

async function converse(socket: Socket, index: number, until: number, latencies: number[]): Promise<void> {
  let next = performance.now() + (intervalMilliseconds * index) / connections;
  while (next < until) {
    const wait = next - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const began = performance.now();
    socket.write(message);
    for (let received = 0; received < message.length; ) {
      const [piece] = (await once(socket, 'data')) as [Buffer];
      received += piece.length;
    }
    latencies.push((performance.now() - began) * 1000);
    next += intervalMilliseconds;
  }
}
