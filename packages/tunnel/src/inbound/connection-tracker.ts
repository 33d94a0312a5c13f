import type { Workload } from '@kmesh/api';
import {
  type Authorization,
  type AuthorizationConnection,
  authorize,
  describeAuthorization,
  type MeshChange,
  type MeshView,
} from '@kmesh/orchestration';

/** One inbound connection, registered before its first evaluation (contract 9, race). */
export interface TrackedConnection {
  readonly connection: AuthorizationConnection;
  /** Destination workload; the newest version of the resource while it exists. */
  workload: Workload;
  /** Cuts the connection because the policies now deny it. */
  deny(reason: string): void;
}

/** Connections judged in one turn of the event loop: a few milliseconds. */
const SLICE = 2_000;

/** The inbound connections of a pod, so that policy changes apply to all of them. Equal connections are two entries. */
export class ConnectionTracker {
  readonly #view: MeshView;
  readonly #tracked = new Set<TrackedConnection>();
  readonly #report: (authorization: Authorization, connection: TrackedConnection) => void;

  constructor(view: MeshView, report: (authorization: Authorization, connection: TrackedConnection) => void) {
    this.#view = view;
    this.#report = report;
  }

  get size(): number {
    return this.#tracked.size;
  }

  connections(): Iterable<TrackedConnection> {
    return this.#tracked;
  }

  /** Registers a connection and evaluates it. The caller must {@link remove} it, whatever the result. */
  admit(tracked: TrackedConnection): Authorization {
    this.#tracked.add(tracked);
    return this.#evaluate(tracked);
  }

  /** Registers a connection that the current state is known to allow. The caller must {@link remove} it. */
  add(tracked: TrackedConnection): void {
    this.#tracked.add(tracked);
  }

  remove(tracked: TrackedConnection): void {
    this.#tracked.delete(tracked);
  }

  /**
   * Judges live connections again after an accepted change: all of them when policies changed, and those of a workload
   * whose own resource changed, because its list of policies may have changed (stricter than upstream, conformance
   * POL-08).
   */
  changed(change: MeshChange): void {
    if (this.#tracked.size === 0) return;
    const policies = change.policies.size > 0;
    if (!policies && change.workloads.size === 0) return;
    const affected: TrackedConnection[] = [];
    for (const tracked of this.#tracked) {
      if (change.workloads.has(tracked.workload.uid)) {
        tracked.workload = this.#view.workload(tracked.workload.uid) ?? tracked.workload;
      } else if (!policies) {
        continue;
      }
      affected.push(tracked);
    }
    this.#judge(affected, 0);
  }

  /** Judges in slices, so as not to block the loop; connections admitted meanwhile are judged by the new state. */
  #judge(affected: readonly TrackedConnection[], from: number): void {
    const until = Math.min(from + SLICE, affected.length);
    for (let at = from; at < until; at++) {
      const tracked = affected[at];
      if (tracked === undefined || !this.#tracked.has(tracked)) continue;
      const authorization = this.#evaluate(tracked);
      if (!authorization.allowed) tracked.deny(describeAuthorization(authorization));
    }
    if (until < affected.length) setImmediate(() => this.#judge(affected, until));
  }

  #evaluate(tracked: TrackedConnection): Authorization {
    const authorization = authorize(this.#view, tracked.connection, tracked.workload);
    this.#report(authorization, tracked);
    return authorization;
  }
}
