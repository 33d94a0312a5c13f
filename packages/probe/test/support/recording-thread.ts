import { workerData } from 'node:worker_threads';
import { MetricRecorder, type RecorderChannel } from '../../src/metrics/recorder.ts';
import { createConnectionObserver } from '../../src/observer.ts';
import { start } from './mesh.ts';

/** A thread that records one connection and ends at once. */

const { channel } = workerData as { channel: RecorderChannel };
const observer = createConnectionObserver({ recorder: new MetricRecorder(channel) });
observer.opened(start()).close({ flag: '-', bytesFromClient: 9 });
