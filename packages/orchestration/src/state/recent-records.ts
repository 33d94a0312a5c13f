import type { Service, Workload } from '@kmesh/api';

/** Time that a replaced or removed record is kept, in milliseconds. */
export const RECORDS_KEPT = 5_000;

interface Past<Kept> {
  readonly record: Kept;
  /** End of validity, in nanoseconds of CLOCK_MONOTONIC. */
  readonly until: number;
}

type PastRecord =
  | (Past<Workload> & { readonly owned: readonly string[] })
  | (Past<Service> & { readonly key: string });

/** Past records under one kind of key, oldest first. */
class PastRecords<Kept> {
  readonly #byKey = new Map<string, Past<Kept>[]>();

  add(key: string, past: Past<Kept>): void {
    const others = this.#byKey.get(key);
    if (others === undefined) this.#byKey.set(key, [past]);
    else others.push(past);
  }

  /** Returns the record valid at `time`, or `undefined` if the current record was already valid then. */
  find(key: string, time: number): Kept | undefined {
    return this.#byKey.get(key)?.find(({ until }) => until > time)?.record;
  }

  forget(key: string): void {
    const rest = this.#byKey.get(key)?.slice(1) ?? [];
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
  }
}

/**
 * Workloads and services as they were a few seconds ago. Close events arrive late; each connection is attributed to the
 * owner of its addresses at open time.
 */
export class RecentRecords {
  readonly #workloads = new PastRecords<Workload>();
  readonly #addresses = new PastRecords<Workload>();
  readonly #services = new PastRecords<Service>();
  /** All past records, oldest first. */
  #kept: PastRecord[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @param owned addresses of the workload where its claim had the highest rank */
  workloadReplaced(workload: Workload, owned: readonly string[], now = monotonicNanoseconds()): void {
    const past = { record: workload, until: now, owned };
    this.#workloads.add(workload.uid, past);
    for (const ip of owned) this.#addresses.add(`${workload.network}/${ip}`, past);
    this.#keep(past);
  }

  serviceReplaced(key: string, service: Service, now = monotonicNanoseconds()): void {
    const past = { record: service, until: now, key };
    this.#services.add(key, past);
    this.#keep(past);
  }

  workload(uid: string, time: number): Workload | undefined {
    return this.#workloads.find(uid, time);
  }

  workloadByAddress(network: string, ip: string, time: number): Workload | undefined {
    return this.#kept.length === 0 ? undefined : this.#addresses.find(`${network}/${ip}`, time);
  }

  service(key: string, time: number): Service | undefined {
    return this.#services.find(key, time);
  }

  #keep(past: PastRecord): void {
    this.#kept.push(past);
    this.#timer ??= setTimeout(() => this.#forgetOld(), RECORDS_KEPT).unref();
  }

  #forgetOld(): void {
    const before = monotonicNanoseconds() - RECORDS_KEPT * 1e6;
    const young = this.#kept.findIndex(({ until }) => until > before);
    const old = young < 0 ? this.#kept.length : young;
    for (const past of this.#kept.slice(0, old)) this.#forget(past);
    this.#kept = this.#kept.slice(old);
    this.#timer =
      this.#kept.length === 0 ? undefined : setTimeout(() => this.#forgetOld(), RECORDS_KEPT).unref();
  }

  #forget(past: PastRecord): void {
    if ('key' in past) {
      this.#services.forget(past.key);
      return;
    }
    const { uid, network } = past.record;
    this.#workloads.forget(uid);
    for (const ip of past.owned) this.#addresses.forget(`${network}/${ip}`);
  }
}

/** Returns CLOCK_MONOTONIC in nanoseconds: the clock of kernel events. */
export function monotonicNanoseconds(): number {
  return Number(process.hrtime.bigint());
}
