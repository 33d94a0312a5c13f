import { addon, type NativeHandle } from './addon.ts';
import { type BpfMap, mapTypes } from './bpf-map.ts';
import { alreadyClosed, integerIn, invalidArgument, systemCallError } from './errors.ts';

/** Records of one delivery. The memory is reused when the handler returns; copy what must be kept. */
interface EventBatch {
  readonly count: number;
  /**
   * With fixed-size records: record i at i × `recordSize`. Otherwise each record is a little-endian u32 length, then
   * its bytes, then padding to the next multiple of 8 from the start.
   */
  readonly bytes: Uint8Array;
}

/** Options of {@link EventRing}. */
interface EventRingOptions {
  /** Handles one batch, synchronously. */
  readonly onBatch: (batch: EventBatch) => void;
  /** Size of every record in bytes, a multiple of 8; absent if sizes vary. */
  readonly recordSize?: number;
  /** Maximum records of one batch; default 4,096. */
  readonly batchRecords?: number;
  /** Bytes of one batch buffer; default 262,144. */
  readonly batchBytes?: number;
  /** Milliseconds to collect records after the first; default 10: each batch costs two wake-ups and a turn of the event loop. */
  readonly delay?: number;
  /** Batch buffers; default 4. When all are in flight, the kernel's ring fills and the programs count losses. */
  readonly buffers?: number;
  /** An array or per-CPU array whose first entry is a u64 that the programs increment when the ring is full. */
  readonly losses?: BpfMap;
  /** Called when `onBatch` throws; without it the error is thrown from a microtask. */
  readonly onError?: (error: unknown) => void;
}

/** Counters since the ring was opened. */
interface EventRingCounters {
  /** Records delivered. */
  readonly records: number;
  readonly batches: number;
  /** Records that never reached `onBatch`: no room in the ring, or a wrong size. */
  readonly losses: number;
  /** Bytes not yet read from the kernel's ring. */
  readonly pending: number;
}

/**
 * Drains a BPF ring buffer on a native thread and calls back once per batch. Does not keep the process alive unless
 * {@link EventRing.reference} is called with true.
 */
export class EventRing implements Disposable {
  readonly #losses: BpfMap | undefined;
  readonly #lossValue: BigUint64Array;
  #handle: NativeHandle | undefined;
  #final: EventRingCounters | undefined;

  /** @throws KmeshError `KMESH_INVALID_ARGUMENT`, `KMESH_RING_FAILED` */
  constructor(map: BpfMap, options: EventRingOptions) {
    if (map.info.type !== mapTypes.ringBuffer) {
      throw invalidArgument(`map ${map.name}`, `of type ${map.info.type}`, 'a ring buffer (type 27)');
    }
    const recordSize = integerIn('recordSize', options.recordSize ?? 0, 0, 1 << 20);
    if (recordSize % 8 !== 0) throw invalidArgument('recordSize', recordSize, 'a multiple of 8');
    const batchBytes = integerIn('batchBytes', options.batchBytes ?? 262_144, 4096, 1 << 28);
    if (recordSize > batchBytes)
      throw invalidArgument('recordSize', recordSize, `at most batchBytes (${batchBytes})`);
    const batchRecords = integerIn('batchRecords', options.batchRecords ?? 4096, 1, 1 << 24);
    const delay = integerIn('delay', options.delay ?? 10, 0, 1000);
    const count = integerIn('buffers', options.buffers ?? 4, 2, 64);
    if (
      options.losses !== undefined &&
      (options.losses.keySize !== 4 || options.losses.valueSize % 8 !== 0)
    ) {
      throw invalidArgument(`losses map ${options.losses.name}`, 'of another shape', 'an array of u64');
    }
    this.#losses = options.losses;
    this.#lossValue = new BigUint64Array((options.losses?.valueSize ?? 8) / 8);

    const buffers = Array.from({ length: count }, () => new ArrayBuffer(batchBytes));
    const views = buffers.map((buffer) => new Uint8Array(buffer));
    const deliver = (index: number, bytes: number, records: number) => {
      try {
        const view = views[index];
        if (view !== undefined) options.onBatch({ count: records, bytes: view.subarray(0, bytes) });
      } catch (error) {
        if (options.onError === undefined)
          queueMicrotask(() => {
            throw error;
          });
        else options.onError(error);
      } finally {
        if (this.#handle !== undefined) addon().ringDone(this.#handle, index);
      }
    };
    const handle = addon().ringOpen(map.fd, recordSize, buffers, batchRecords, delay, deliver);
    if (typeof handle === 'number') {
      throw systemCallError(-handle, 'KMESH_RING_FAILED', `cannot read ring ${map.name}`, 'mmap');
    }
    this.#handle = handle;
  }

  /** Sets whether the ring keeps the process alive (default: no). */
  reference(keepAlive: boolean): void {
    if (this.#handle !== undefined) addon().ringReference(this.#handle, keepAlive);
  }

  get counters(): EventRingCounters {
    if (this.#final !== undefined) return this.#final;
    if (this.#handle === undefined) throw alreadyClosed('the event ring');
    const native = addon().ringCounters(this.#handle);
    const { records, batches, pending } = native;
    return { records, batches, losses: native.oversized + this.#programLosses(), pending };
  }

  /** Stops the thread and drops undelivered batches; the last counters stay readable. */
  close(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    this.#final = this.counters;
    this.#handle = undefined;
    addon().ringClose(handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #programLosses(): number {
    const bytes = new Uint8Array(this.#lossValue.buffer);
    if (this.#losses === undefined || this.#losses.closed) return 0;
    if (this.#losses.get(new Uint8Array(4), bytes) === undefined) return 0;
    return Number(this.#lossValue.reduce((sum, value) => sum + value, 0n));
  }
}
