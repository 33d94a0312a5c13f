/** One end of a bulk transfer: `bulk.ts serve <port>` or `bulk.ts send <address> <port> <seconds>`. */
import { connect, createServer } from 'node:net';

const [role, first = '', second = '', third = '2'] = process.argv.slice(2);

if (role === 'serve') {
  const into = Buffer.allocUnsafe(256 << 10);
  const server = createServer({ allowHalfOpen: true, highWaterMark: into.length }, (socket) => {
    let bytes = 0;
    let began = 0;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      began ||= performance.now();
      bytes += chunk.length;
    });
    // The answer is what arrived, so that nothing in a buffer is counted.
    socket.on('end', () => socket.end(`${bytes} ${performance.now() - began}`));
  });
  server.listen(Number(first), '::', () => console.log('listening'));
} else {
  const block = Buffer.alloc(128 << 10, 'x');
  const socket = connect({ host: first, port: Number(second), allowHalfOpen: true });
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk.toString();
  });
  socket.on('end', () => console.log(answer));
  socket.once('connect', () => {
    const until = performance.now() + Number(third) * 1000;
    const fill = (): void => {
      while (performance.now() < until) if (!socket.write(block)) return;
      socket.off('drain', fill);
      socket.end();
    };
    socket.on('drain', fill);
    fill();
  });
}
