/** Ratios that `npm run bench -- guard` checks, with the reason for each. */
import { BULK, CPU, FRESH, MANY, ONE_P50 } from './peers/measure.ts';

interface GuardBound {
  readonly nodes: 1 | 2;
  readonly figure: string;
  readonly kind: 'atLeast' | 'atMost';
  /** Bound of Kmesh divided by no mesh. Exceeds the variation between runs of one tree, even on a busy machine. */
  readonly bound: number;
  readonly reason: string;
}

export const guardBounds: readonly GuardBound[] = [
  {
    ...{ nodes: 1, figure: MANY, kind: 'atLeast', bound: 0.7 },
    reason: 'traffic of one node has left the kernel path, or its programs cost more for each packet',
  },
  {
    ...{ nodes: 1, figure: CPU, kind: 'atMost', bound: 1.5 },
    reason: 'a request of one node costs more than its path requires: something is copied or judged twice',
  },
  {
    ...{ nodes: 1, figure: FRESH, kind: 'atLeast', bound: 0.45 },
    reason: 'the connect hook, a handshake or its report has become expensive',
  },
  {
    ...{ nodes: 1, figure: BULK, kind: 'atLeast', bound: 0.85 },
    reason: 'the wire no longer delivers whole segments straight into the other pod',
  },
  {
    ...{ nodes: 2, figure: MANY, kind: 'atLeast', bound: 0.28 },
    reason: 'the engine wakes, copies or encrypts more often for a request',
  },
  {
    ...{ nodes: 2, figure: FRESH, kind: 'atLeast', bound: 0.2 },
    reason: 'a decision, or the pool of sessions, has become expensive',
  },
  {
    ...{ nodes: 2, figure: BULK, kind: 'atLeast', bound: 0.17 },
    reason: 'records, windows or queues of the tunnel no longer keep a stream flowing',
  },
  {
    ...{ nodes: 2, figure: ONE_P50, kind: 'atMost', bound: 6 },
    reason: 'a message waits in the engine for an unnecessary wake-up',
  },
];
