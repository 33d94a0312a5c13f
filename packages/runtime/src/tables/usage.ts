import type { RefusalReason } from '@kmesh/api';

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
