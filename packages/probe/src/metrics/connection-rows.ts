import type { Identity } from '@kmesh/api';
import type { AddressedService, ConnectionStart, DerivedWorkload, ResponseFlag } from '../connection.ts';
import {
  roundTripLabels,
  serviceLabels,
  trafficLabels,
  workloadLabels,
} from '../labels/connection-labels.ts';
import { spiffeUri } from '../labels/peer.ts';
import { isNamedAlike, RecentByPeers } from '../labels/recent-peers.ts';
import { ObjectIds } from './object-ids.ts';
import { podSubject, workloadSubject } from './presence.ts';
import type { MetricRecorder, MetricRow } from './recorder.ts';
import { familyOffset, metricTables } from './tables.ts';

/** Metric rows of one kind of connection: same peers, service, identities, reporter. */
export interface ConnectionRows {
  readonly traffic: MetricRow;
  readonly workload: MetricRow;
  readonly service: MetricRow;
  /** Created with the first round-trip time. */
  roundTrip: MetricRow | undefined;
  /** The recorder's generation when the rows were found. */
  readonly generation: number;
}

/** Cells of the traffic, workload and service tables: the first five families are the same in all three. */
export const cell = {
  opened: 0,
  closed: 1,
  received: 2,
  sent: 3,
  failed: 4,
  retransmissions: familyOffset(metricTables.workload, 5),
} as const;

const bit = { opened: 1, closed: 2, received: 4, sent: 8, failed: 16, retransmissions: 32 } as const;
const openMask = bit.opened | bit.closed | bit.received | bit.sent;
const endMask = bit.closed | bit.failed;

/** Above this number of remembered combinations the cache is cleared: rows are found again by their labels. */
const rememberedCombinations = 500_000;

/** Limit on the series of one pod of this node. */
export interface SeriesShare {
  /** Maximum number of series that the connections of one pod may create. */
  readonly perPod: number;
  /** Called for each combination of labels that counts under `other` instead; the pod is `namespace/name`. */
  readonly onOverflow: (pod: { readonly namespace: string; readonly name: string }) => void;
}

/** Finds the rows of a connection without building its labels if a similar one was seen before. */
export class ConnectionRowCache {
  readonly #recorder: MetricRecorder;
  readonly #share: SeriesShare | undefined;
  /** By source and destination. A miss here may still be found by content. */
  readonly #recent = new RecentByPeers<ConnectionRows>(isNamedAlike);
  readonly #findRows = (start: ConnectionStart): ConnectionRows => this.#find(start);
  #ids = new ObjectIds();
  #rows = new Map<number, ConnectionRows>();
  #generation = 0;

  constructor(recorder: MetricRecorder, share?: SeriesShare) {
    this.#recorder = recorder;
    this.#share = share;
  }

  /** Returns the rows with flag `-`: opened, closed and both byte counts. */
  open(start: ConnectionStart): ConnectionRows {
    if (this.#generation !== this.#recorder.generation || this.#ids.given > rememberedCombinations) {
      this.#ids = new ObjectIds();
      this.#rows = new Map();
      this.#recent.forget();
      this.#generation = this.#recorder.generation;
    }
    return this.#recent.of(start, this.#findRows);
  }

  #find(start: ConnectionStart): ConnectionRows {
    const combination = this.#combination(start);
    const known = this.#rows.get(combination);
    if (known !== undefined) return known;
    const rows = this.#make(start, '-', openMask);
    this.#rows.set(combination, rows);
    return rows;
  }

  /** Returns the rows of a failed end: closed and failed under the final flag. */
  failed(start: ConnectionStart, flag: ResponseFlag): ConnectionRows {
    return this.#make(start, flag, endMask);
  }

  /** @param found the rows of this connection when it opened */
  roundTrip(start: ConnectionStart, found: ConnectionRows): MetricRow {
    const rows = found.generation === this.#recorder.generation ? found : this.open(start);
    rows.roundTrip ??=
      this.#inShare(start, 'roundTrip', roundTripLabels(start), 1, workloadSubjects(start)) ??
      this.#recorder.row('roundTrip', roundTripLabels(toOther(start)), 1, workloadSubjects(toOther(start)));
    return rows.roundTrip;
  }

  #combination(start: ConnectionStart): number {
    const ids = this.#ids;
    const peers = ids.pair(ids.ofRecord(start.source), ids.ofRecord(start.destination));
    const about = ids.pair(
      ids.of(start.destinationService, serviceText),
      ids.of(start.sourceIdentity, spiffeText),
    );
    const kind = (start.reporter === 'source' ? 1 : 0) + (start.securityPolicy === 'mutual_tls' ? 2 : 0);
    let combination = ids.pair(ids.pair(peers, about), kind);
    if (start.derivedSource ?? start.derivedDestination ?? start.destinationIdentity) {
      const derived = ids.pair(
        ids.of(start.derivedSource, derivedText),
        ids.of(start.derivedDestination, derivedText),
      );
      combination = ids.pair(ids.pair(combination, derived), ids.of(start.destinationIdentity, spiffeText));
    }
    return combination;
  }

  #make(start: ConnectionStart, flag: ResponseFlag, mask: number): ConnectionRows {
    const make = (of: ConnectionStart, row: RowMaker): ConnectionRows | undefined => {
      const workloads = workloadSubjects(of);
      const pods = of.destination ? [...workloads, podSubject(of.destination)] : workloads;
      const retransmissions = (mask & bit.opened) === 0 ? 0 : bit.retransmissions;
      const traffic = row('traffic', trafficLabels(of, flag), mask, workloads);
      if (traffic === undefined) return undefined;
      const workload = row('workload', workloadLabels(of, flag), mask | retransmissions, pods);
      const service = row('service', serviceLabels(of, flag), mask, workloads);
      if (workload === undefined || service === undefined) return undefined;
      return { traffic, workload, service, roundTrip: undefined, generation: this.#generation };
    };
    const rows = make(start, (...row) => this.#inShare(start, ...row));
    if (rows !== undefined) return rows;
    const pod = podOf(start);
    if (pod !== undefined) this.#share?.onOverflow(pod);
    const other = make(toOther(start), (...row) => this.#recorder.row(...row));
    if (other === undefined) throw new RangeError('a row that is in no share was refused');
    return other;
  }

  /** Returns a row in the share of the connection's pod; `undefined` when the share is used up. */
  #inShare(start: ConnectionStart, ...row: RowArguments): MetricRow | undefined {
    const pod = this.#share === undefined ? undefined : podOf(start);
    if (this.#share === undefined || pod === undefined) return this.#recorder.row(...row);
    const owner = { pod: `${pod.namespace}/${pod.name}`, most: this.#share.perPod };
    return this.#recorder.rowOf(owner, ...row);
  }
}

type RowArguments = Parameters<MetricRecorder['row']>;
type RowMaker = (...row: RowArguments) => MetricRow | undefined;

/** Returns the pod of this node. */
function podOf({ reporter, source, destination }: ConnectionStart) {
  return reporter === 'source' ? source : destination;
}

const other: DerivedWorkload = { namespace: 'other', workloadName: 'other', serviceName: 'other' };

/** Replaces peer and service by those that stand for connections beyond a pod's share. */
function toOther(start: ConnectionStart): ConnectionStart {
  const common = { ...start, destinationService: undefined, destinationIdentity: undefined };
  return start.reporter === 'source'
    ? { ...common, destination: undefined, derivedDestination: other }
    : { ...common, source: undefined, sourceIdentity: undefined, derivedSource: other };
}

/**
 * A peer known only from baggage is in another cluster: its removal is never reported, so its rows expire when idle.
 */
function workloadSubjects(start: ConnectionStart): string[] {
  const subjects: string[] = [];
  if (start.source) subjects.push(workloadSubject(start.source));
  else if (start.derivedSource) subjects.push('derived');
  if (start.derivedDestination) subjects.push('derived');
  else if (start.destination) subjects.push(workloadSubject(start.destination));
  return subjects;
}

function serviceText(service: AddressedService): string {
  return `service\n${service.hostname}\n${service.namespace}\n${service.name}`;
}

function spiffeText(identity: Identity): string {
  return spiffeUri(identity);
}

function derivedText(derived: DerivedWorkload): string {
  return [
    'derived',
    derived.cluster,
    derived.namespace,
    derived.workloadName,
    derived.serviceName,
    derived.serviceVersion,
    derived.region,
    derived.zone,
  ].join('\n');
}
