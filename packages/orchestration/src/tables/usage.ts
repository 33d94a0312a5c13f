/** Why something did not get into a kernel table. */
export type RefusalReason =
  /** The table has no free entry. */
  | 'table-full'
  /** Every entry in which the key may be is taken. */
  | 'no-place'
  /** No free run of slots is long enough for the endpoints of a service port. */
  | 'range-too-long'
  /** The bucket of the pod's namespace cookie is full. */
  | 'bucket-full'
  /** Pods of one node share its locality and network; this one has others. */
  | 'other-locality';

/** How full one kernel table is, and what it had to refuse since the start. */
export interface TableUsage {
  readonly table: 'pods' | 'frontends' | 'cidr_frontends' | 'endpoints' | 'verdicts';
  readonly used: number;
  readonly capacity: number;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

/** Counts refusals of one table. */
export class RefusalCounter {
  readonly #counts: Partial<Record<RefusalReason, number>> = {};

  count(reason: RefusalReason): void {
    this.#counts[reason] = (this.#counts[reason] ?? 0) + 1;
  }

  get counts(): Readonly<Partial<Record<RefusalReason, number>>> {
    return { ...this.#counts };
  }
}
