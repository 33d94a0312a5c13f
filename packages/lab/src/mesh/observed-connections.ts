import { KmeshError } from '@kmesh/api';
import { EventRing } from '@kmesh/linux';
import { inboundService, servicesOfWorkload } from '@kmesh/orchestration';
import { type ConnectionEnd, type ConnectionStart, silentObserver } from '@kmesh/probe';
import { KernelConnections, kmeshEventLayout } from '@kmesh/runtime';
import type { KernelMesh } from './kernel-mesh.ts';

interface Observed {
  readonly start: ConnectionStart;
  end?: ConnectionEnd;
}

/** Connections that the probe reports from the kernel's events, recorded for a test. */
export class ObservedConnections implements Disposable {
  /** In order of opening; client and server sides are separate records. */
  readonly all: Observed[] = [];
  readonly #ring: EventRing;
  #wake: (() => void) | undefined;

  constructor({ object, state, tables, workloadOfPod }: KernelMesh) {
    const workloadOf = (uid: string | undefined) => (uid === undefined ? undefined : state.workload(uid));
    const connections = new KernelConnections({
      observer: { ...silentObserver, opened: (start) => this.#opened(start) },
      resolver: {
        podWorkload: (cookie) => workloadOf(workloadOfPod.get(BigInt(cookie))),
        workload: (id) => workloadOf(tables.workloadUid(id)),
        service: (id) => state.service(tables.serviceKey(id) ?? ''),
        identity: (id) => tables.identity(id),
        workloadByAddress: (ip) => state.workloadByAddress('', ip),
        inboundService: (destination, port) =>
          inboundService(destination, servicesOfWorkload(state, destination), port, undefined),
      },
    });
    this.#ring = new EventRing(object.map('events'), {
      recordSize: kmeshEventLayout.size,
      losses: object.map('events_lost'),
      onBatch: ({ bytes, count }) => connections.batch(bytes, count),
    });
  }

  /** Resolves when `count` connections have ended. @throws KMESH_LAB_TIMEOUT after `timeoutMs`, 30,000 by default */
  async ended(count: number, timeoutMs = 30_000): Promise<readonly Observed[]> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const ended = this.all.filter(({ end }) => end !== undefined);
      if (ended.length >= count) return ended;
      const left = deadline - Date.now();
      if (left <= 0) {
        throw new KmeshError(
          'KMESH_LAB_TIMEOUT',
          `${ended.length} of ${count} connections ended in ${timeoutMs} ms.`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  [Symbol.dispose](): void {
    this.#ring.close();
  }

  #opened(start: ConnectionStart): ReturnType<typeof silentObserver.opened> {
    const observed: Observed = { start };
    this.all.push(observed);
    return {
      progress: () => undefined,
      relabel: () => undefined,
      close: (end) => {
        observed.end = end;
        this.#wake?.();
      },
    };
  }
}
