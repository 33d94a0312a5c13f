import type { EndpointRange } from './endpoint-array.ts';

interface ServicePort {
  range4: bigint;
  range6: bigint;
  /** Slots of the frontends that balance over it: one for each address and view. */
  readonly slots: number[];
}

/** Service ports by id, with their endpoint ranges and the frontends in which these are written. */
export class ServicePorts {
  readonly #flip: (slot: number, family: 4 | 6, range: bigint) => void;
  readonly #ports = new Map<number, ServicePort>();
  #next = 1;

  /** @param flip changes the range of one family in a frontend, by one store */
  constructor(flip: (slot: number, family: 4 | 6, range: bigint) => void) {
    this.#flip = flip;
  }

  /** A new id, with empty ranges. Ids are not given twice. */
  add(): number {
    const id = this.#next++;
    this.#ports.set(id, { range4: 0n, range6: 0n, slots: [] });
    return id;
  }

  /** Makes every connect from now on draw from `range`; undefined refuses. Each frontend changes by one store. */
  flip(id: number, family: 4 | 6, range: EndpointRange | undefined): void {
    const port = this.#ports.get(id);
    if (port === undefined) return;
    const word = range === undefined ? 0n : (BigInt(range.size) << 32n) | BigInt(range.base);
    if (family === 4) port.range4 = word;
    else port.range6 = word;
    for (const slot of port.slots) this.#flip(slot, family, word);
  }

  /** Where the endpoints of a port are; empty: nothing can answer. */
  rangeOf(id: number, family: 4 | 6): EndpointRange {
    const { range4, range6 } = this.ranges(id);
    const word = family === 4 ? range4 : range6;
    return { family, base: Number(word & 0xffff_ffffn), size: Number(word >> 32n) };
  }

  /** The ranges of a port as the words that frontends hold. */
  ranges(id: number): { readonly range4: bigint; readonly range6: bigint } {
    return this.#ports.get(id) ?? { range4: 0n, range6: 0n };
  }

  /** From now on flips reach this frontend; its ranges must be written in the same turn. */
  attach(id: number, slot: number): void {
    this.#ports.get(id)?.slots.push(slot);
  }

  /** Flips no longer reach this frontend. */
  detach(id: number, slot: number): void {
    const slots = this.#ports.get(id)?.slots;
    const index = slots?.indexOf(slot) ?? -1;
    if (index >= 0) slots?.splice(index, 1);
  }

  /** Forgets a port to which no frontend leads. */
  remove(id: number): void {
    this.#ports.delete(id);
  }
}
