import { workerData } from 'node:worker_threads';
import { createConnectionObserver, MetricRecorder, type RecorderChannel } from '../../src/index.ts';
import { start } from './mesh.ts';

/** A thread that records one connection and ends at once. */

const { channel } = workerData as { channel: RecorderChannel };
const observer = createConnectionObserver({ recorder: new MetricRecorder(channel) });
observer.opened(start()).close({ flag: '-', bytesFromClient: 9 });
