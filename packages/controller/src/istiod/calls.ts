import { Client, type ClientOptions, type ServiceError, status } from '@grpc/grpc-js';
import { caProto, isKmeshError, KmeshError } from '@kmesh/api';
import {
  type ChannelEnd,
  channelCredentials,
  grpcTarget,
  requestMetadata,
  tlsChannelOptions,
} from './channel.ts';
import type { FromCalls, OpenCalls, ToCalls } from './thread-calls.ts';

const channelOptions: ClientOptions = {
  // The caller has its own back-off; a longer one here would only hide that istiod has recovered.
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 5000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Channels to the same address differ in their roots and must not share connections.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
};

const asIs = (bytes: Buffer): Buffer => bytes;

/**
 * Serves calls to istiod's certificate service for the other end of a port, until the port closes (docs/contract.md 5).
 */
export function serveCalls({ port, ...options }: OpenCalls): void {
  const send = (message: FromCalls): void => port.postMessage(message);
  const connection = new Connection(options, (reason) => send({ kind: 'rootsUnusable', reason }));
  const cancels = new Map<number, AbortController>();
  const serve = async (id: number, request: Uint8Array<ArrayBuffer>): Promise<void> => {
    const cancel = new AbortController();
    cancels.set(id, cancel);
    try {
      const response = await connection.call(Buffer.from(request.buffer), cancel.signal);
      send({ kind: 'answered', id, response: new Uint8Array(response) });
    } catch (error) {
      send({ kind: 'failed', id, ...failure(error) });
    } finally {
      cancels.delete(id);
    }
  };
  port.on('message', (message: ToCalls) => {
    if (message.kind === 'call') void serve(message.id, message.request);
    else if (message.kind === 'cancel') cancels.get(message.id)?.abort();
    else connection.rootsChanged();
  });
  port.on('close', () => {
    for (const cancel of cancels.values()) cancel.abort();
    connection.close();
  });
}

/** A channel that is replaced when the roots change. */
class Connection {
  readonly #options: Omit<OpenCalls, 'port' | 'kind'>;
  readonly #onRootsUnusable: (reason: string) => void;
  #channel: { readonly client: Client; readonly end: ChannelEnd } | undefined;
  #stale = true;
  #closed = false;
  #rebuilding: Promise<Client> | undefined;

  constructor(options: Omit<OpenCalls, 'port' | 'kind'>, onRootsUnusable: (reason: string) => void) {
    this.#options = options;
    this.#onRootsUnusable = onRootsUnusable;
  }

  rootsChanged(): void {
    this.#stale = true;
  }

  async call(request: Buffer, signal: AbortSignal): Promise<Uint8Array> {
    const { controlPlane, settings, callMilliseconds } = this.#options;
    const metadata = await requestMetadata(controlPlane, settings);
    const channel = await this.#current();
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const call = channel.makeUnaryRequest(
        caProto.createCertificatePath,
        asIs,
        asIs,
        request,
        metadata,
        { deadline: Date.now() + callMilliseconds },
        (error, response) => {
          signal.removeEventListener('abort', cancel);
          if (error === null) resolve(response ?? Buffer.alloc(0));
          else reject(callError(controlPlane.address, error));
        },
      );
      const cancel = (): void => call.cancel();
      signal.addEventListener('abort', cancel, { once: true });
    });
  }

  close(): void {
    this.#closed = true;
    this.#leave();
  }

  #leave(): void {
    if (this.#channel === undefined) return;
    this.#channel.end.closed = true;
    this.#channel.client.close();
    this.#channel = undefined;
  }

  /** Returns the channel, rebuilt if the roots changed. While they cannot be read, the old channel stays. */
  #current(): Promise<Client> {
    if (!this.#stale && this.#channel !== undefined) return Promise.resolve(this.#channel.client);
    this.#rebuilding ??= this.#rebuild().finally(() => {
      this.#rebuilding = undefined;
    });
    return this.#rebuilding;
  }

  async #rebuild(): Promise<Client> {
    const { controlPlane, settings } = this.#options;
    const old = this.#channel;
    // Before reading: a change during the read must not be lost.
    this.#stale = false;
    try {
      const end = { closed: false };
      const credentials = await channelCredentials(controlPlane, settings, end);
      const fresh = new Client(grpcTarget(controlPlane.address), credentials, {
        ...channelOptions,
        ...tlsChannelOptions(controlPlane),
      });
      this.#leave();
      if (this.#closed) fresh.close();
      else this.#channel = { client: fresh, end };
      return fresh;
    } catch (cause) {
      this.#stale = true;
      if (old === undefined) throw cause;
      this.#onRootsUnusable(cause instanceof Error ? cause.message : String(cause));
      return old.client;
    }
  }
}

const unreachable: ReadonlySet<number> = new Set([status.DEADLINE_EXCEEDED, status.UNAVAILABLE]);

function callError(address: string, error: ServiceError): KmeshError {
  return unreachable.has(error.code)
    ? new KmeshError('KMESH_CA_UNREACHABLE', `CA_ADDRESS: ${address} cannot be reached: ${error.details}`)
    : new KmeshError('KMESH_CA_REFUSED', `${address} refused the certificate: ${error.message}`);
}

/** Returns the part of an error that is sent to the control thread. */
function failure(error: unknown): Omit<Extract<FromCalls, { kind: 'failed' }>, 'kind' | 'id'> {
  const message = error instanceof Error ? error.message : String(error);
  return { code: isKmeshError(error) ? error.code : 'KMESH_CA_UNREACHABLE', message };
}
