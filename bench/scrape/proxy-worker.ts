import { type AddressInfo, connect, createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { createConnectionObserver, MetricRecorder, type RecorderChannel } from '@kmesh/probe';
import { workload } from '../../test/e2e/probe-traffic.ts';

/** A data thread as far as metrics are concerned: proxies bytes and counts them, beside as many other series as asked for. */

const { channel, series, target } = workerData as {
  channel: RecorderChannel;
  series: number;
  target: number;
};
const recorder = new MetricRecorder(channel);
const observer = createConnectionObserver({ recorder });
const server = workload('server', '10.1.0.1');
const start = {
  reporter: 'source',
  path: 'tunnel',
  sourceAddress: '10.0.0.1:41000',
  destinationAddress: '10.1.0.1:8080',
  destination: server,
  destinationService: undefined,
  securityPolicy: 'unknown',
} as const;

// A connection's label sets are 13 lines: traffic and service 4 each, workload 5.
for (let index = 0; index < series / 13; index++) {
  const source = workload(`client-${index}`, '10.0.0.1');
  observer
    .opened({ ...start, source })
    .close({ flag: '-', bytesFromClient: index * 1000, bytesFromServer: index });
}

const client = workload('client', '10.0.0.1');
const proxy = createServer({ noDelay: true }, (near) => {
  const far = connect({ port: target, host: '127.0.0.1', noDelay: true });
  const connection = observer.opened({ ...start, source: client });
  near.pipe(far);
  far.pipe(near);
  const count = () => connection.progress(near.bytesRead, far.bytesRead);
  near.on('data', count);
  for (const socket of [near, far]) {
    socket.on('error', () => undefined);
    socket.on('close', () => {
      near.destroy();
      far.destroy();
      connection.close({ flag: '-' });
    });
  }
});
proxy.listen(0, '127.0.0.1', () => parentPort?.postMessage((proxy.address() as AddressInfo).port));
parentPort?.on('message', () => process.exit(0));
