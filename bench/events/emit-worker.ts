import { parentPort, workerData } from 'node:worker_threads';
import { anyPacket } from '@kmesh/lab/testing/probe/emitter.ts';
import { BpfProgram } from '@kmesh/linux';

/** Writes events at a steady rate from a separate thread, like the pods of a node. */

const { descriptor, eventsPerSecond, seconds } = workerData as {
  descriptor: number;
  eventsPerSecond: number;
  seconds: number;
};

const program = new BpfProgram({ name: 'emit', section: 'tc', type: 3, attachType: 0, fd: descriptor });
const pause = new Int32Array(new SharedArrayBuffer(4));
const began = performance.now();
const total = eventsPerSecond * seconds;
for (let sent = 0; sent < total; ) {
  const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * eventsPerSecond));
  // Small batches, because a signal makes the kernel restart a run.
  for (; sent < due; sent += 500) program.testRun(anyPacket, Math.min(500, due - sent));
  sent = Math.min(sent, due);
  Atomics.wait(pause, 0, 0, 1);
}
parentPort?.postMessage(performance.now() - began);
