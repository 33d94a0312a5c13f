import { BpfIterator, type BpfObject, capability } from '@kmesh/linux';
import { kmeshEventLayout, kmeshLiveReportLayout as layout } from './gen/layouts.ts';

/**
 * Why live flows cannot be read on this kernel; empty when they can.
 *
 * @param object - the loaded programs: the verifier may have refused some
 */
export function liveFlowsObstacles(object?: Pick<BpfObject, 'programNames'>): string[] {
  const { available, description, requiredKernel, reason } = capability('flow-iterator');
  if (!available) return [`${description} (Linux ${requiredKernel} has them): ${reason}`];
  const loaded = object === undefined || object.programNames.includes('kmesh_live');
  return loaded ? [] : ['the verifier refused kmesh_live'];
}

/** Before load: leaves out what this kernel cannot load. */
export function prepareLiveFlows(object: BpfObject): void {
  if (liveFlowsObstacles().length > 0) object.setAutoload('kmesh_live', false);
}

/** A share of the live flows; the memory is written again by the next {@link LiveFlowTable.read}. */
interface LiveFlows {
  /** `struct kmesh_event` records of kind `live`. */
  readonly bytes: Uint8Array;
  readonly count: number;
  /** Flows of the share that found no room: ask for smaller shares. */
  readonly overflow: number;
}

/** The established connections of the kernel path, read from socket storage. */
export class LiveFlowTable implements Disposable {
  readonly #generation: number;
  readonly #iterator: BpfIterator;
  readonly #report: DataView;
  readonly #records: Uint8Array;

  /**
   * @param generation tells the daemon that counts what is told here from others, 1 to 65,535
   * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`, `KMESH_BPF_MAP_FAILED`
   */
  constructor(object: Pick<BpfObject, 'map' | 'program'>, generation: number) {
    this.#generation = generation;
    this.#report = new DataView(object.map('live_report').mmap());
    this.#records = new Uint8Array(object.map('live_flows').mmap());
    this.#iterator = new BpfIterator(object.program('kmesh_live'), object.map('flows'));
  }

  /**
   * Reads the flows whose cookie is `share` modulo `shares`, in one walk on a thread of the pool, and keeps in each what was
   * told of it: the caller counts that. One at a time.
   *
   * @param shares a power of two
   */
  async read(share: number, shares: number): Promise<LiveFlows> {
    const report = this.#report;
    report.setUint32(layout.generation, this.#generation, true);
    report.setUint32(layout.shareMask, shares - 1, true);
    report.setUint32(layout.share, share, true);
    report.setUint32(layout.count, 0, true);
    report.setUint32(layout.overflow, 0, true);
    await this.#iterator.run();
    const count = report.getUint32(layout.count, true);
    return {
      bytes: this.#records.subarray(0, count * kmeshEventLayout.size),
      count,
      overflow: report.getUint32(layout.overflow, true),
    };
  }

  close(): void {
    this.#iterator.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
