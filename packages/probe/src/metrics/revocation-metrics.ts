import type { Reporter } from '../connection.ts';
import { add, type MetricRecorder } from './recorder.ts';

/** The revocation families of ambient contract 15.3. */
interface RevocationMetrics {
  /** Counts a connection that was refused or reset because its certificate is revoked. */
  rejected(reporter: Reporter): void;
  /** Counts an open connection that a later revocation cannot reset. */
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
