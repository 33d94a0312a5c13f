import type { Identity, Logger, Workload } from '@kmesh/api';
import type { MeshChange, MeshState, MeshView } from '@kmesh/orchestration';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { CertificateManager } from './certificate-manager.ts';

interface CertificatePrefetchOptions {
  readonly manager: Pick<CertificateManager, 'certificate' | 'forget'>;
  readonly logger: Logger;
  /** This node's name. If empty, every workload counts as local. */
  readonly node: string;
  /** Default 256. */
  readonly queueLimit?: number;
}

/**
 * Keeps the certificates of this node's workloads ready: requests them, one after another, when an HBONE or
 * native-tunnel workload appears; forgets them when the last workload of an identity is gone. Shared mode only.
 * Ambient contract 5.
 */
export class CertificatePrefetch {
  readonly #manager: CertificatePrefetchOptions['manager'];
  readonly #logger: Logger;
  readonly #node: string;
  readonly #queueLimit: number;
  /** Workload uid → identity, for this node's workloads. */
  readonly #local = new Map<string, Identity>();
  /** Identity → number of this node's workloads that have it. */
  readonly #holders = new Map<string, number>();
  readonly #queue = new Map<string, Identity>();
  #running = false;
  #closed = false;

  constructor(options: CertificatePrefetchOptions) {
    this.#manager = options.manager;
    this.#logger = options.logger;
    this.#node = options.node;
    this.#queueLimit = options.queueLimit ?? 256;
  }

  /** Handles every known workload, such as those of a local mesh file, and then each change. Returns an unsubscribe function. */
  follow(mesh: MeshState): () => void {
    this.apply({ workloads: new Set([...mesh.workloads()].map(({ uid }) => uid)) }, mesh);
    return mesh.subscribe((change) => this.apply(change, mesh));
  }

  /** Handles the workloads of a change. */
  apply(change: Pick<MeshChange, 'workloads'>, mesh: Pick<MeshView, 'workload'>): void {
    const departed: Identity[] = [];
    for (const uid of change.workloads) {
      const workload = mesh.workload(uid);
      const left = this.#replace(
        uid,
        workload !== undefined && this.#isLocal(workload) ? workload : undefined,
      );
      if (left !== undefined) departed.push(left);
    }
    // After the whole batch: a workload that changed its uid in it keeps its certificate.
    for (const identity of departed) {
      const key = formatIdentityUri(identity);
      if (this.#holders.has(key)) continue;
      this.#queue.delete(key);
      this.#manager.forget(identity);
    }
  }

  close(): void {
    this.#closed = true;
    this.#queue.clear();
  }

  #isLocal(workload: Workload): boolean {
    return this.#node === '' || workload.node === this.#node;
  }

  /** Returns the identity that the workload had before. */
  #replace(uid: string, workload: Workload | undefined): Identity | undefined {
    const before = this.#local.get(uid);
    if (before !== undefined) this.#count(before, -1);
    if (workload === undefined) {
      this.#local.delete(uid);
      return before;
    }
    const identity: Identity = {
      trustDomain: workload.trustDomain,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
    };
    this.#local.set(uid, identity);
    this.#count(identity, 1);
    if (workload.protocol === 'HBONE' || workload.nativeTunnel) this.#enqueue(identity);
    return before;
  }

  #count(identity: Identity, difference: number): void {
    const key = formatIdentityUri(identity);
    const count = (this.#holders.get(key) ?? 0) + difference;
    if (count > 0) this.#holders.set(key, count);
    else this.#holders.delete(key);
  }

  #enqueue(identity: Identity): void {
    const key = formatIdentityUri(identity);
    if (this.#queue.has(key)) return;
    if (this.#queue.size >= this.#queueLimit) {
      this.#logger.warn(
        'certificate prefetch queue is full; the first connection waits for the certificate',
        {
          identity: key,
        },
      );
      return;
    }
    this.#queue.set(key, identity);
    if (!this.#running) void this.#work();
  }

  async #work(): Promise<void> {
    this.#running = true;
    try {
      for (let next = this.#take(); next !== undefined && !this.#closed; next = this.#take()) {
        // The manager logs the failure and retries by itself.
        await this.#manager.certificate(next, 'Warmup').catch(() => undefined);
      }
    } finally {
      this.#running = false;
    }
  }

  #take(): Identity | undefined {
    for (const [key, identity] of this.#queue) {
      this.#queue.delete(key);
      return identity;
    }
    return undefined;
  }
}
