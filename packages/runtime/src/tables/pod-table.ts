import type { TableUsage } from '@kmesh/api';
import {
  kmeshPodBucketLayout as bucketLayout,
  kmeshConstant,
  kmeshPodFlag,
  kmeshPodLayout as podLayout,
} from './gen/layouts.ts';
import { RefusalCounter } from './usage.ts';

/** An enrolled pod as the programs see it. */
interface PodEntry {
  readonly workloadId: number;
  readonly namespaceId: number;
  readonly identityId?: number;
  /** The CNI agent enrolled it: istio-cni's redirect rules should be in its namespace. */
  readonly captured: boolean;
  /** They were not found: what cannot be handed over to the pod's proxy is refused. */
  readonly bare?: boolean;
}

/** The `pods` array: buckets of four, chosen by the lower bits of the network-namespace cookie. */
export class PodTable {
  readonly #view: DataView;
  readonly #cookies: BigUint64Array<ArrayBuffer>;
  readonly #buckets: number;
  readonly #places = new Map<bigint, number>();
  readonly #refused = new RefusalCounter();

  constructor(memory: ArrayBuffer) {
    this.#view = new DataView(memory);
    this.#cookies = new BigUint64Array(memory);
    this.#buckets = Math.floor(memory.byteLength / bucketLayout.size);
  }

  /** Enrols a pod, or changes what is known of it. False (counted) when its bucket is full. */
  set(cookie: bigint, pod: PodEntry): boolean {
    const place = this.#places.get(cookie) ?? this.#freePlace(cookie);
    if (place === undefined) {
      this.#refused.count('bucket-full');
      return false;
    }
    const { bucket, way } = split(place);
    const offset = bucket * bucketLayout.size + bucketLayout.pods + way * podLayout.size;
    this.#view.setUint32(offset + podLayout.workload, pod.workloadId, true);
    this.#view.setUint32(offset + podLayout.namespaceId, pod.namespaceId, true);
    this.#view.setUint32(offset + podLayout.identity, pod.identityId ?? 0, true);
    const flags = (pod.captured ? kmeshPodFlag.captured : 0) | (pod.bare === true ? kmeshPodFlag.bare : 0);
    this.#view.setUint32(offset + podLayout.flags, flags, true);
    // The cookie last: only with it can a program find the entry.
    Atomics.store(this.#cookies, cookieIndex(bucket, way), cookie);
    this.#places.set(cookie, place);
    return true;
  }

  /** Counts a pod that the tables cannot serve. */
  refuse(reason: 'other-locality'): void {
    this.#refused.count(reason);
  }

  has(cookie: bigint): boolean {
    return this.#places.has(cookie);
  }

  /** The identity by which a pod's connects are judged; 0: none that is certain. */
  identityOf(cookie: bigint): number {
    const place = this.#places.get(cookie);
    if (place === undefined) return 0;
    const { bucket, way } = split(place);
    const offset = bucket * bucketLayout.size + bucketLayout.pods + way * podLayout.size;
    return this.#view.getUint32(offset + podLayout.identity, true);
  }

  /** The pod is no longer enrolled, from this instant on. */
  delete(cookie: bigint): boolean {
    const place = this.#places.get(cookie);
    if (place === undefined) return false;
    const { bucket, way } = split(place);
    Atomics.store(this.#cookies, cookieIndex(bucket, way), 0n);
    this.#places.delete(cookie);
    return true;
  }

  usage(): TableUsage {
    return {
      table: 'pods',
      used: this.#places.size,
      capacity: this.#buckets * kmeshConstant.podWays,
      refused: this.#refused.counts,
    };
  }

  #freePlace(cookie: bigint): number | undefined {
    const bucket = Number(cookie % BigInt(this.#buckets));
    for (let way = 0; way < kmeshConstant.podWays; way++) {
      if (Atomics.load(this.#cookies, cookieIndex(bucket, way)) === 0n)
        return bucket * kmeshConstant.podWays + way;
    }
    return undefined;
  }
}

function split(place: number): { bucket: number; way: number } {
  const way = place % kmeshConstant.podWays;
  return { bucket: (place - way) / kmeshConstant.podWays, way };
}

function cookieIndex(bucket: number, way: number): number {
  return (bucket * bucketLayout.size + bucketLayout.cookies) / 8 + way;
}
