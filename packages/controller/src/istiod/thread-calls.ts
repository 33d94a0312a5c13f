import type { MessagePort } from 'node:worker_threads';
import { KmeshError, type KmeshErrorCode } from '@kmesh/api';
import type { ControlPlane, ControlPlaneSettings } from './control-plane.ts';

/** Request to the thread for a connection to the certificate service; `port` carries its calls. */
export interface OpenCalls {
  readonly kind: 'calls';
  readonly port: MessagePort;
  readonly controlPlane: ControlPlane;
  readonly settings: ControlPlaneSettings;
  /** Longest time of one call, in milliseconds. */
  readonly callMilliseconds: number;
}

/** Messages to the thread's end of the port. */
export type ToCalls =
  | { readonly kind: 'call'; readonly id: number; readonly request: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'cancel'; readonly id: number }
  /** The next call opens a new connection. */
  | { readonly kind: 'rootsChanged' };

/** Messages from the thread's end of the port. */
export type FromCalls =
  | { readonly kind: 'answered'; readonly id: number; readonly response: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'failed'; readonly id: number; readonly code: KmeshErrorCode; readonly message: string }
  /** The previous connection is kept. */
  | { readonly kind: 'rootsUnusable'; readonly reason: string };

/** Calls to the certificate service that run in the thread. */
export interface ThreadCalls {
  /**
   * Sends an encoded request and resolves with the encoded response.
   *
   * @throws KMESH_CA_UNREACHABLE, also if the thread ends; KMESH_CA_REFUSED; KMESH_SETTING_UNUSABLE.
   */
  call(request: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>;
  /** Makes the next call open a new connection with the current roots. While they cannot be read, the old one stays. */
  rootsChanged(): void;
  /** Closes the port to the thread, which closes the connection to the certificate service. */
  [Symbol.dispose](): void;
}

/** A port for calls to the thread. */
interface CallsPort {
  readonly port: MessagePort;
  close(): void;
}

/** {@link ThreadCalls} over a port; a new port is opened after the thread has ended. */
export class CallsOfThread implements ThreadCalls {
  readonly #open: (fail: (reason: string) => void) => CallsPort;
  readonly #onRootsUnusable: (reason: string) => void;
  readonly #waiting = new Map<number, PromiseWithResolvers<Uint8Array>>();
  #connection: CallsPort | undefined;
  #lastId = 0;

  constructor(
    open: (fail: (reason: string) => void) => CallsPort,
    onRootsUnusable: (reason: string) => void,
  ) {
    this.#open = open;
    this.#onRootsUnusable = onRootsUnusable;
  }

  async call(request: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted();
    this.#connection ??= this.#connect();
    const { port } = this.#connection;
    const id = ++this.#lastId;
    const waiting = Promise.withResolvers<Uint8Array>();
    this.#waiting.set(id, waiting);
    const cancel = (): void => port.postMessage({ kind: 'cancel', id } satisfies ToCalls);
    signal?.addEventListener('abort', cancel, { once: true });
    // A copy: the transfer takes the whole buffer, which may be shared with others.
    const bytes = new Uint8Array(request);
    port.postMessage({ kind: 'call', id, request: bytes } satisfies ToCalls, [bytes.buffer]);
    try {
      return await waiting.promise;
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  rootsChanged(): void {
    this.#connection?.port.postMessage({ kind: 'rootsChanged' } satisfies ToCalls);
  }

  [Symbol.dispose](): void {
    this.#end('the client was closed');
  }

  #connect(): CallsPort {
    const connection = this.#open((reason) => this.#end(reason));
    connection.port.on('message', (message: FromCalls) => {
      if (message.kind === 'rootsUnusable') this.#onRootsUnusable(message.reason);
      else if (message.kind === 'answered') this.#waiting.get(message.id)?.resolve(message.response);
      else this.#waiting.get(message.id)?.reject(new KmeshError(message.code, message.message));
    });
    return connection;
  }

  #end(reason: string): void {
    this.#connection?.close();
    this.#connection = undefined;
    for (const { reject } of this.#waiting.values()) reject(new KmeshError('KMESH_CA_UNREACHABLE', reason));
  }
}
