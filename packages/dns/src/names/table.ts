import type { NameRecord } from './record.ts';
import type { NameSource } from './resolve.ts';

const NO_RECORDS: readonly NameRecord[] = [];

/** The records of the answering thread by host name. A record that is sent again keeps its place. */
export class NameTable implements NameSource {
  readonly #byKey = new Map<string, NameRecord>();
  readonly #byHostname = new Map<string, NameRecord[]>();

  get size(): number {
    return this.#byKey.size;
  }

  recordsOf(hostname: string): readonly NameRecord[] {
    return this.#byHostname.get(hostname) ?? NO_RECORDS;
  }

  put(record: NameRecord): void {
    const previous = this.#byKey.get(record.key);
    this.#byKey.set(record.key, record);
    if (previous !== undefined && previous.hostname !== record.hostname) this.#unlist(previous);
    const records = this.#byHostname.get(record.hostname);
    if (records === undefined) {
      this.#byHostname.set(record.hostname, [record]);
      return;
    }
    const position = previous === undefined ? -1 : records.indexOf(previous);
    if (position >= 0) records[position] = record;
    else records.push(record);
  }

  /** Unknown keys are fine. */
  remove(key: string): void {
    const record = this.#byKey.get(key);
    if (record === undefined) return;
    this.#byKey.delete(key);
    this.#unlist(record);
  }

  #unlist(record: NameRecord): void {
    const records = this.#byHostname.get(record.hostname)?.filter((other) => other !== record) ?? [];
    if (records.length === 0) this.#byHostname.delete(record.hostname);
    else this.#byHostname.set(record.hostname, records);
  }
}
