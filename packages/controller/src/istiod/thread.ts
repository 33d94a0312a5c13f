import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { KmeshError, type xds } from '@kmesh/api';
import { releaseFreeMemory, startThread } from '@kmesh/linux';
import type { ControlPlane, ControlPlaneSettings } from './control-plane.ts';
import { grpcStatus } from './control-plane.ts';
import type { StreamEnd, StreamTimes } from './stream.ts';
import { CallsOfThread, type OpenCalls, type ThreadCalls } from './thread-calls.ts';

/** The timeouts of a node proxy. */
export const standardTimes: StreamTimes = {
  connectTimeout: 5_000,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
  routesRefused: 3_600_000,
  firstRoutes: 1_000,
};

/** Request to the thread to open a stream; `port` carries the stream's messages. */
export interface OpenStream {
  readonly kind: 'stream';
  readonly port: MessagePort;
  readonly controlPlane: ControlPlane;
  readonly settings: ControlPlaneSettings;
  readonly times: StreamTimes;
}

/** Messages to a stream of the thread. */
export type ToStream =
  | { readonly kind: 'send'; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Reads the next response. Pieces of the last one that were not fetched are dropped. */
  | { readonly kind: 'next' }
  /** Fetches the next piece of the last response. */
  | { readonly kind: 'piece' }
  | { readonly kind: 'close' };

/** Messages from a stream of the thread. */
export type FromStream =
  | { readonly kind: 'connected' }
  | {
      readonly kind: 'response';
      readonly header: xds.ResponseHeader;
      /** Whether its assembly took memory worth returning to the kernel. */
      readonly isLong: boolean;
      readonly piece: Uint8Array<ArrayBuffer> | undefined;
    }
  | { readonly kind: 'piece'; readonly piece: Uint8Array<ArrayBuffer> | undefined }
  | { readonly kind: 'malformed'; readonly reason: string }
  | { readonly kind: 'ended'; readonly end: StreamEnd };

/** A response as the thread passes it on. */
export interface ReceivedResponse {
  readonly header: xds.ResponseHeader;
  /** Resolves with the next piece, or `undefined` after the last one. See `SplitResponse` for their order. */
  nextPiece(): Promise<Uint8Array | undefined>;
}

/** One delta stream that runs in the thread. */
export interface ThreadStream {
  send(request: Buffer): void;
  /**
   * Resolves with the next response, or `undefined` after the end of the stream. A response is read from the connection
   * only after this call.
   *
   * @throws KMESH_XDS_RESPONSE_MALFORMED if the bytes are not a response.
   */
  next(): Promise<ReceivedResponse | undefined>;
  readonly ended: Promise<StreamEnd>;
  isConnected(): boolean;
  /** Cancels the call; `ended` resolves afterwards. */
  close(): void;
  /** Releases the connection to the thread, and cancels the call. */
  [Symbol.dispose](): void;
}

/**
 * The thread of the connections to istiod: xDS and the certificate service. TLS, HTTP/2 and the assembly of messages of
 * up to 200 MiB block this thread and not the control thread, which receives each response in pieces of bounded size.
 * Only this thread loads the gRPC library.
 *
 * The control thread decodes, in slices: records decoded there share equal strings and maps, which a copy between
 * threads would lose.
 */
export class IstiodThread {
  #worker: Worker | undefined;
  readonly #ports = new Set<(reason: string) => void>();

  /** Opens a stream; starts the thread unless it runs. */
  open(options: Omit<OpenStream, 'port' | 'kind'>): ThreadStream {
    return this.#streamOn(this.#connect((port) => ({ kind: 'stream', port, ...options })));
  }

  /**
   * Returns calls to the certificate service. The first one connects, and starts the thread unless it runs.
   * `onRootsUnusable` is called with the reason when new roots cannot be used.
   */
  calls(options: Omit<OpenCalls, 'port' | 'kind'>, onRootsUnusable: (reason: string) => void): ThreadCalls {
    return new CallsOfThread((fail) => {
      const port = this.#connect((far) => ({ kind: 'calls', port: far, ...options }));
      this.#ports.add(fail);
      return { port, close: () => this.#release(port, fail) };
    }, onRootsUnusable);
  }

  #connect(request: (port: MessagePort) => OpenStream | OpenCalls): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.#worker ??= this.#start();
    this.#worker.postMessage(request(port2), [port2]);
    return port1;
  }

  #release(port: MessagePort, fail: (reason: string) => void): void {
    this.#ports.delete(fail);
    port.close();
  }

  /** Ends the thread and its streams. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = startThread(new URL('./istiod-worker.ts', import.meta.url), {
      name: 'kmesh-istiod',
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    let reason = 'the thread of the connections to istiod ended';
    worker.on('error', (error) => {
      reason = `the thread of the connections to istiod failed: ${error instanceof Error ? error.message : String(error)}`;
    });
    worker.on('exit', () => {
      this.#worker = undefined;
      for (const fail of [...this.#ports]) fail(reason);
    });
    return worker;
  }

  #streamOn(port: MessagePort): ThreadStream {
    const post = (message: ToStream, transfer: ArrayBuffer[] = []): void =>
      port.postMessage(message, transfer);
    const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<StreamEnd>();
    let connected = false;
    let isLong = false;
    let end: StreamEnd | undefined;
    let response: PromiseWithResolvers<ReceivedResponse | undefined> | undefined;
    let piece: PromiseWithResolvers<Uint8Array | undefined> | undefined;

    const finish = (final: StreamEnd): void => {
      end ??= final;
      response?.resolve(undefined);
      resolveEnded(end);
    };
    const fail = (reason: string): void => {
      piece?.reject(new Error(reason));
      finish({ connected, transportClosed: false, code: grpcStatus.INTERNAL, details: reason });
    };
    const fetchPiece = (): Promise<Uint8Array | undefined> => {
      piece = Promise.withResolvers();
      post({ kind: 'piece' });
      return piece.promise;
    };
    port.on('message', (message: FromStream) => {
      switch (message.kind) {
        case 'connected':
          connected = true;
          return;
        case 'response': {
          isLong = message.isLong;
          if (isLong) void releaseFreeMemory();
          let first = message.piece;
          const nextPiece = async (): Promise<Uint8Array | undefined> => {
            const present = first;
            first = undefined;
            return present ?? (await fetchPiece());
          };
          response?.resolve({ header: message.header, nextPiece });
          return;
        }
        case 'piece':
          if (isLong && message.piece === undefined) void releaseFreeMemory();
          piece?.resolve(message.piece);
          return;
        case 'malformed':
          response?.reject(new KmeshError('KMESH_XDS_RESPONSE_MALFORMED', message.reason));
          return;
        case 'ended':
          finish(message.end);
      }
    });
    this.#ports.add(fail);
    return {
      ended,
      isConnected: () => connected && end === undefined,
      send: (request) => {
        const bytes = new Uint8Array(request);
        post({ kind: 'send', bytes }, [bytes.buffer]);
      },
      next: () => {
        if (end !== undefined) return Promise.resolve(undefined);
        response = Promise.withResolvers();
        post({ kind: 'next' });
        return response.promise;
      },
      close: () => post({ kind: 'close' }),
      [Symbol.dispose]: () => this.#release(port, fail),
    };
  }
}
