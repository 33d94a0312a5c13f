import { closeSync } from 'node:fs';
import { KmeshError, zdsProto } from '@kmesh/api';
import type { SeqpacketMessage, SeqpacketSocket } from '@kmesh/linux';

/** Time limits of the agent, in milliseconds (ambient contract 10.2). */
const HELLO_TIMEOUT = 5000;
const ANSWER_TIMEOUT = 5000;

/** One message of the agent and its answer. */
interface Exchange {
  readonly request: zdsProto.WorkloadRequest | 'bytes';
  readonly descriptors: number;
  /** Empty text for an acknowledgement, the proxy's error otherwise; absent when no answer came. */
  answer?: string;
  /** Milliseconds that the answer took. */
  tookMs?: number;
}

/** One connection of a proxy to the fake agent, with all its messages. */
export class AgentConnection {
  /** Every message sent, in order, with its answer. */
  readonly exchanges: Exchange[] = [];
  /** Resolves when it ends, with the reason: `peer closed`, `unsolicited data`, `no hello in time`, … */
  readonly closed: Promise<string>;
  readonly #socket: SeqpacketSocket;
  readonly #end = Promise.withResolvers<string>();
  #reason: string | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #waiting: PromiseWithResolvers<SeqpacketMessage> | undefined;
  #hello: PromiseWithResolvers<SeqpacketMessage> | undefined = Promise.withResolvers();

  constructor(socket: SeqpacketSocket) {
    this.#socket = socket;
    this.closed = this.#end.promise;
    this.#hello?.promise.catch(() => undefined);
    socket.on('message', (message) => this.#onMessage(message));
    socket.on('error', () => undefined);
    socket.on('close', () => this.close('peer closed'));
  }

  /** Why it ended, once it has. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Reads the client's first packet. @throws KMESH_LAB_ZDS when it is not a hello of version 1, or late. */
  async hello(): Promise<void> {
    const pending = this.#hello;
    if (pending === undefined) return;
    const message = await this.#inTime(pending.promise, HELLO_TIMEOUT, 'no hello in time');
    this.#hello = undefined;
    const { version } = zdsProto.ZdsHello.decode(message.bytes);
    if (version !== zdsProto.Version.V1) throw this.#broken(`hello of version ${version}`);
  }

  /**
   * Sends a message and waits for its one answer; messages wait for each other. Returns the error text of the answer,
   * empty for an acknowledgement.
   *
   * @throws KMESH_LAB_ZDS when no valid answer arrives; the connection is then closed.
   */
  request(request: zdsProto.WorkloadRequest, descriptors: readonly number[] = []): Promise<string> {
    return this.#exchange(
      { request, descriptors: descriptors.length },
      zdsProto.WorkloadRequest.encode(request),
      descriptors,
    );
  }

  /** As {@link AgentConnection.request} with bytes that need not be a message. */
  requestBytes(bytes: Uint8Array, descriptors: readonly number[] = []): Promise<string> {
    return this.#exchange({ request: 'bytes', descriptors: descriptors.length }, bytes, descriptors);
  }

  close(reason = 'closed by the agent'): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#socket.close();
    const error = new KmeshError('KMESH_LAB_ZDS', `The connection of the proxy ended: ${reason}.`);
    this.#hello?.reject(error);
    this.#waiting?.reject(error);
    this.#end.resolve(reason);
  }

  #exchange(exchange: Exchange, bytes: Uint8Array, descriptors: readonly number[]): Promise<string> {
    const turn = this.#queue.then(async () => {
      if (this.#reason !== undefined) throw this.#broken(this.#reason);
      this.exchanges.push(exchange);
      const waiting = Promise.withResolvers<SeqpacketMessage>();
      this.#waiting = waiting;
      const started = performance.now();
      try {
        await this.#socket.send(bytes, descriptors);
      } catch (cause) {
        // The proxy has just closed: a send fails before the end of the stream is read.
        waiting.promise.catch(() => undefined);
        const reason = 'it takes no more packets';
        this.close(reason);
        throw new KmeshError('KMESH_LAB_ZDS', `The connection of the proxy ended: ${reason}.`, { cause });
      }
      const message = await this.#inTime(waiting.promise, ANSWER_TIMEOUT, 'no answer in time');
      exchange.tookMs = performance.now() - started;
      const { ack } = zdsProto.WorkloadResponse.decode(message.bytes);
      if (ack === undefined || ack === null) throw this.#broken('an answer without an ack');
      exchange.answer = ack.error ?? '';
      return exchange.answer;
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  #onMessage(message: SeqpacketMessage): void {
    for (const descriptor of message.descriptors) closeSync(descriptor);
    if (message.descriptors.length > 0) this.close('descriptors from the proxy');
    else if (message.bytes.length > zdsProto.maximumPacketBytes) this.close('a packet above 1024 bytes');
    else if (this.#hello !== undefined && !this.#helloCame) {
      this.#helloCame = true;
      this.#hello.resolve(message);
    } else if (this.#waiting !== undefined) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting.resolve(message);
    } else this.close('unsolicited data');
  }

  #helloCame = false;

  async #inTime<T>(promise: Promise<T>, milliseconds: number, otherwise: string): Promise<T> {
    const timer = setTimeout(() => this.close(otherwise), milliseconds);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #broken(reason: string): KmeshError {
    this.close(reason);
    return new KmeshError('KMESH_LAB_ZDS', `The proxy breaks the protocol: ${reason}.`);
  }
}
