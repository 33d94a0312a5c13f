import type { Reporter } from '../connection.ts';
import { add, type MetricRecorder } from './recorder.ts';

/** The revocation families of ambient contract 15.3. */
interface RevocationMetrics {
  /** A connection was refused or cut because its certificate is revoked. */
  rejected(reporter: Reporter): void;
  /** A connection runs that a later revocation cannot cut. */
  untracked(reporter: Reporter): void;
}

export function createRevocationMetrics(recorder: MetricRecorder): RevocationMetrics {
  const count = (reporter: Reporter, cell: number) =>
    add(recorder.row('revocation', [reporter], 0b11), cell, 1);
  return {
    rejected: (reporter) => count(reporter, 0),
    untracked: (reporter) => count(reporter, 1),
  };
}
