import { closeSync } from 'node:fs';
import type { PodInfo } from '@kmesh/api';
import { backoffMilliseconds, type Logger, zdsProto } from '@kmesh/api';
import {
  connectSeqpacket,
  type NetworkNamespace,
  networkNamespaceFromDescriptor,
  type SeqpacketMessage,
  type SeqpacketSocket,
} from '@kmesh/linux';
import { PodRegister, type ZdsCounts, type ZdsPods } from './pod-register.ts';

interface ZdsClientOptions {
  /** Path of the CNI agent's socket (`INPOD_UDS`). */
  readonly path: string;
  readonly pods: ZdsPods;
  readonly logger: Logger;
  /**
   * Called with true after the snapshot with nothing pending, with false when the connection is lost (contract 2.6).
   */
  readonly onReady: (ready: boolean) => void;
  /** Called on a protocol error: the process ends with code 1, without a drain (contract 2.7). */
  readonly onProtocolError: (error: Error) => void;
  readonly onCounts?: (counts: ZdsCounts) => void;
  /** Delay between attempts to start a pod's proxy; 5 s. */
  readonly retryMilliseconds?: number;
  /** First delay before the agent is asked again for an unusable namespace, 30 s; doubles up to 15 minutes. */
  readonly firstAskMilliseconds?: number;
  /** First delay before a reconnect, 10 ms; doubles up to the maximum, 15 s. */
  readonly firstBackoffMilliseconds?: number;
  readonly maximumBackoffMilliseconds?: number;
}

const { maximumPacketBytes, Version, WorkloadRequest, WorkloadResponse, ZdsHello } = zdsProto;

/** Reaction: `start` stays connected, `read` reconnects, `protocol` ends the process. */
interface Problem {
  readonly kind: 'start' | 'read' | 'protocol';
  readonly text: string;
}

/** Longest error text in an answer, in bytes: the packet stays below 1024. */
const MAXIMUM_ERROR_BYTES = 900;

const MAXIMUM_ASK_MILLISECONDS = 900_000;

/** The client of the CNI agent (contract 10.2, 10.3). Connects after {@link ZdsClient.start}. */
export class ZdsClient {
  readonly #options: ZdsClientOptions;
  readonly #register: PodRegister;
  /** Uids in the current snapshot; `undefined` after it. */
  #snapshot: Set<string> | undefined;
  #socket: SeqpacketSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #askTimer: NodeJS.Timeout | undefined;
  /** Consecutive snapshots that left a pod without a usable namespace. */
  #asked = 0;
  /** Whether the connection is being replaced to receive the pods again: readiness stays until that fails. */
  #asking = false;
  /** Consecutive failures; determines the current delay. */
  #failures = 0;
  #complained = false;
  /** Whether a snapshot was ever received. */
  #connected = false;
  #ready = false;
  #closed = false;

  constructor(options: ZdsClientOptions) {
    this.#options = options;
    this.#register = new PodRegister({
      pods: options.pods,
      logger: options.logger,
      retryMilliseconds: options.retryMilliseconds ?? 5_000,
      onCounts: options.onCounts ?? (() => undefined),
      onRetried: () => this.#updateReady(),
    });
  }

  /** Number of running pods. */
  get active(): number {
    return this.#register.active;
  }

  /** Number of pods whose proxy could not be started yet, including those without a usable namespace. */
  get pending(): number {
    return this.#register.pending;
  }

  /** Returns the pods that failed to start and wait for the next attempt. */
  pendingPods(): (PodInfo & { readonly uid: string })[] {
    return this.#register.pendingPods();
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Connects. Call after the first sync of the mesh state. */
  start(): void {
    this.#dial();
  }

  /** Closes the connection; proxies keep running. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#askTimer);
    this.#register.close();
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #dial(): void {
    if (this.#closed) return;
    let socket: SeqpacketSocket;
    try {
      socket = connectSeqpacket(this.#options.path, { maxPacketSize: maximumPacketBytes, maxDescriptors: 4 });
    } catch (error) {
      this.#complain((error as Error).message);
      this.#dialLater();
      return;
    }
    this.#socket = socket;
    this.#snapshot = new Set();
    this.#register.dropPending();
    socket.on('error', (error) =>
      this.#options.logger.warn('ZDS connection failed', { error: error.message }),
    );
    socket.on('close', () => this.#lost(socket));
    socket.send(ZdsHello.encode({ version: Version.V1 })).then(
      () => {
        this.#complained = false;
        socket.on('message', (message) => this.#receive(socket, message));
      },
      () => socket.close(),
    );
  }

  #complain(error: string): void {
    const { logger, path } = this.#options;
    if (this.#complained) {
      logger.debug("the CNI agent's socket still cannot be reached", { failures: this.#failures + 1, error });
      return;
    }
    this.#complained = true;
    logger.error(
      `the CNI agent's socket ${path} cannot be reached, so pods are not served yet; ` +
        'is istio-cni running on this node?',
      { error },
    );
  }

  #dialLater(): void {
    if (this.#closed) return;
    this.#asking = false;
    this.#setReady(false);
    const settings = {
      firstMilliseconds: this.#options.firstBackoffMilliseconds ?? 10,
      maximumMilliseconds: this.#options.maximumBackoffMilliseconds ?? 15_000,
      jitter: 0.2,
    };
    const wait = backoffMilliseconds(settings, ++this.#failures, Math.random());
    this.#timer = setTimeout(() => this.#dial(), wait);
  }

  #lost(socket: SeqpacketSocket): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    this.#asking = false;
    clearTimeout(this.#askTimer);
    this.#askTimer = undefined;
    this.#setReady(false);
    this.#options.logger.warn('ZDS connection lost; pods stay served, reconnecting');
    this.#dialLater();
  }

  #receive(socket: SeqpacketSocket, message: SeqpacketMessage): void {
    if (socket !== this.#socket || this.#closed) {
      for (const fd of message.descriptors) closeSync(fd);
      return;
    }
    const problem = this.#handle(message);
    this.#answer(socket, problem);
    this.#updateReady();
    this.#askLater();
  }

  /** Sends the answer: exactly one per message; nothing else is ever sent. */
  #answer(socket: SeqpacketSocket, problem: Problem | undefined): void {
    const error = Buffer.from(problem?.text ?? '')
      .subarray(0, MAXIMUM_ERROR_BYTES)
      .toString();
    if (problem !== undefined) this.#options.logger.warn('ZDS message answered with an error', { error });
    const done = (): void => {
      if (problem?.kind === 'protocol') this.#options.onProtocolError(new Error(problem.text));
      else if (problem?.kind === 'read') socket.close();
    };
    socket.send(WorkloadResponse.encode({ ack: { error } })).then(done, () => {
      socket.close();
      done();
    });
  }

  #handle(message: SeqpacketMessage): Problem | undefined {
    const descriptors = [...message.descriptors];
    try {
      if (message.truncated || message.descriptorsTruncated) {
        return readFailure(
          `the packet is longer than ${maximumPacketBytes} bytes or carries too many descriptors`,
        );
      }
      let request: zdsProto.WorkloadRequest;
      try {
        request = WorkloadRequest.decode(message.bytes);
      } catch (error) {
        return readFailure(`the packet is not a WorkloadRequest: ${(error as Error).message}`);
      }
      const { add, keep, del, snapshotSent } = request;
      if (add == null && keep == null && del == null && snapshotSent == null) {
        return readFailure('the payload is empty');
      }
      const wanted = add == null ? 0 : 1;
      if (descriptors.length !== wanted) {
        return readFailure(`the message carries ${descriptors.length} descriptors instead of ${wanted}`);
      }
      if (add != null) {
        if (add.workloadInfo == null) return protocolError('add without workload_info');
        const { name, namespace, serviceAccount } = add.workloadInfo;
        const info = { name: name ?? '', namespace: namespace ?? '', serviceAccount: serviceAccount ?? '' };
        const fd = descriptors.pop();
        return fd === undefined
          ? readFailure('add without a descriptor')
          : this.#add(add.uid ?? '', info, fd);
      }
      if (keep != null) return this.#keep(keep.uid ?? '');
      if (del != null) return this.#delete(del.uid ?? '');
      return this.#reconcile();
    } finally {
      for (const fd of descriptors) closeSync(fd);
    }
  }

  #add(uid: string, info: PodInfo, fd: number): Problem | undefined {
    this.#snapshot?.add(uid);
    let namespace: NetworkNamespace;
    try {
      namespace = networkNamespaceFromDescriptor(fd);
    } catch (error) {
      // Concerns only this pod, such as an unmounted namespace file; the connection must keep serving the other pods.
      return { kind: 'start', text: this.#register.addUnusable(uid, info, error as Error) };
    }
    const failure = this.#register.add(uid, info, namespace);
    return failure === undefined ? undefined : { kind: 'start', text: failure };
  }

  #keep(uid: string): Problem | undefined {
    if (this.#snapshot === undefined) return protocolError('keep after the snapshot');
    this.#snapshot.add(uid);
    return undefined;
  }

  #delete(uid: string): undefined {
    this.#register.forgetPending(uid);
    // Until the snapshot is complete, its reconciliation stops the running proxy.
    if (this.#snapshot === undefined) this.#register.stop(uid);
    else this.#snapshot.delete(uid);
  }

  #reconcile(): Problem | undefined {
    if (this.#snapshot === undefined) return protocolError('second snapshot on one connection');
    this.#register.keepOnly(this.#snapshot);
    this.#options.logger.info(`the CNI agent is connected${this.#connected ? ' again' : ''}`, {
      pods: this.#snapshot.size,
    });
    this.#connected = true;
    this.#snapshot = undefined;
    this.#asking = false;
    // Only a complete snapshot proves that the connection works; otherwise the delays keep growing.
    this.#failures = 0;
    return undefined;
  }

  /**
   * Schedules a reconnect if a pod has no usable namespace: an agent sends a namespace once, and again only in the
   * snapshot of a new connection.
   */
  #askLater(): void {
    if (this.#snapshot !== undefined || this.#closed) return;
    if (this.#register.unusable === 0) {
      clearTimeout(this.#askTimer);
      this.#askTimer = undefined;
      this.#asked = 0;
      return;
    }
    if (this.#askTimer !== undefined) return;
    const settings = {
      firstMilliseconds: this.#options.firstAskMilliseconds ?? 30_000,
      maximumMilliseconds: MAXIMUM_ASK_MILLISECONDS,
      jitter: 0.2,
    };
    const wait = backoffMilliseconds(settings, ++this.#asked, Math.random());
    this.#askTimer = setTimeout(() => this.#askAnew(), wait).unref();
  }

  #askAnew(): void {
    this.#askTimer = undefined;
    const socket = this.#socket;
    if (socket === undefined || this.#snapshot !== undefined || this.#register.unusable === 0) return;
    this.#options.logger.info(
      'reconnecting to the CNI agent: it sent unusable network namespaces for some pods',
      {
        pods: this.#register.unusable,
      },
    );
    this.#asking = true;
    this.#socket = undefined;
    socket.close();
    this.#dial();
  }

  #updateReady(): void {
    if (this.#asking) return;
    this.#setReady(
      this.#socket !== undefined && this.#snapshot === undefined && this.#register.starting === 0,
    );
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return;
    this.#ready = ready;
    this.#options.onReady(ready);
  }
}

function readFailure(text: string): Problem {
  return { kind: 'read', text };
}

function protocolError(text: string): Problem {
  return { kind: 'protocol', text };
}
