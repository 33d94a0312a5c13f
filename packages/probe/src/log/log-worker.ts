import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { type LogBatch, writeFully } from './log-writer.ts';

/** The program of the log thread: one blocking write per batch, then the lines leave the queue. */

const { descriptor, queued } = workerData as { descriptor: number; queued: Int32Array };
const ports: MessagePort[] = [];

parentPort?.on('message', (message: MessagePort | 'close') => {
  if (message === 'close') {
    // Messages already sent on the ports come first: they are delivered before a later turn of the loop.
    setTimeout(() => {
      for (const port of ports) port.close();
      parentPort?.close();
    }, 10);
    return;
  }
  ports.push(message);
  message.on('message', ({ text, lines }: LogBatch) => {
    writeFully(descriptor, text);
    Atomics.sub(queued, 0, lines);
    Atomics.notify(queued, 0);
  });
});
