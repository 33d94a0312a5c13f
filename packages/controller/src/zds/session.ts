import { KmeshError, zdsProto } from '@kmesh/api';
import { closeDescriptor, networkNamespaceFromDescriptor, type SeqpacketMessage } from '@kmesh/runtime';
import type { PodInfo, Pods } from './pods.ts';

/** What happens after a message was worked off. `answer` is the text of the acknowledgement: empty is success. */
export type SessionStep =
  | { readonly next: 'continue'; readonly answer: string }
  /** The message could not be read: answer, then connect anew. */
  | { readonly next: 'reconnect'; readonly answer: string }
  /** The agent broke the protocol: answer, then end the process with exit code 1 (ambient contract T13). */
  | { readonly next: 'fatal'; readonly answer: string };

/**
 * One connection to the CNI agent, from the hello to its end: the state machine of ambient contract 10.3. Messages are
 * handed in one after the other.
 */
export class ZdsSession {
  readonly #pods: Pods;
  readonly #onSnapshot: () => void;
  /** Uids of the snapshot; `undefined` once it is complete. */
  #snapshot: Set<string> | undefined = new Set();

  /** @param onSnapshot called when the snapshot was applied. */
  constructor(pods: Pods, onSnapshot: () => void) {
    this.#pods = pods;
    this.#onSnapshot = onSnapshot;
  }

  get snapshotComplete(): boolean {
    return this.#snapshot === undefined;
  }

  /** Works one message off. Owns its descriptors. */
  async handle(message: SeqpacketMessage): Promise<SessionStep> {
    const { descriptors } = message;
    try {
      return await this.#handle(message);
    } catch (error) {
      return { next: 'continue', answer: shortText(error) };
    } finally {
      for (const descriptor of descriptors.splice(0)) closeDescriptor(descriptor);
    }
  }

  async #handle(message: SeqpacketMessage): Promise<SessionStep> {
    const { bytes, descriptors } = message;
    if (message.truncated)
      return unreadable(`a packet may have at most ${zdsProto.maximumPacketBytes} bytes`);
    let request: ReturnType<typeof zdsProto.WorkloadRequest.decode>;
    try {
      request = zdsProto.WorkloadRequest.decode(bytes);
    } catch (error) {
      return unreadable(`undecodable packet: ${shortText(error)}`);
    }
    const wanted = request.payload === 'add' ? 1 : 0;
    if (descriptors.length !== wanted || message.descriptorsTruncated) {
      return unreadable(
        `${request.payload ?? 'empty'} came with ${descriptors.length} descriptors, ${wanted} expected`,
      );
    }
    switch (request.payload) {
      case 'add':
        return this.#add(request.add?.uid ?? '', request.add?.workloadInfo ?? undefined, descriptors);
      case 'keep':
        return this.#keep(request.keep?.uid ?? '');
      case 'del':
        return this.#remove(request.del?.uid ?? '');
      case 'snapshotSent':
        return this.#endSnapshot();
      default:
        return unreadable('empty payload');
    }
  }

  async #add(
    uid: string,
    info: zdsProto.WorkloadInfo | undefined,
    descriptors: number[],
  ): Promise<SessionStep> {
    if (info === undefined) return { next: 'fatal', answer: 'add without workload info' };
    const [descriptor] = descriptors.splice(0);
    if (descriptor === undefined) return unreadable('add without a descriptor');
    const namespace = networkNamespaceFromDescriptor(descriptor);
    const pod: PodInfo = {
      uid,
      name: info.name ?? '',
      namespace: info.namespace ?? '',
      serviceAccount: info.serviceAccount ?? '',
    };
    this.#snapshot?.add(uid);
    await this.#pods.add(pod, namespace);
    return done;
  }

  #keep(uid: string): SessionStep {
    if (this.#snapshot === undefined) return { next: 'fatal', answer: 'keep after the snapshot' };
    this.#snapshot.add(uid);
    return done;
  }

  async #remove(uid: string): Promise<SessionStep> {
    if (this.#snapshot === undefined) {
      await this.#pods.remove(uid);
      return done;
    }
    // A running proxy goes when the snapshot is complete, one that never started goes now.
    this.#snapshot.delete(uid);
    if (this.#pods.list().some((entry) => entry.pod.uid === uid && entry.state === 'Pending'))
      await this.#pods.remove(uid);
    return done;
  }

  async #endSnapshot(): Promise<SessionStep> {
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return { next: 'fatal', answer: 'second snapshot' };
    this.#snapshot = undefined;
    for (const uid of this.#pods.uids()) if (!snapshot.has(uid)) await this.#pods.remove(uid);
    this.#onSnapshot();
    return done;
  }
}

const done: SessionStep = { next: 'continue', answer: '' };

function unreadable(answer: string): SessionStep {
  return { next: 'reconnect', answer };
}

/** Error text that fits into an acknowledgement of at most 1024 bytes. */
function shortText(error: unknown): string {
  const text = error instanceof KmeshError || error instanceof Error ? error.message : String(error);
  return text.length <= 400 ? text : `${text.slice(0, 399)}…`;
}
