import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  connectivityState,
  InterceptingCall,
  type Metadata,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { xds } from '@kmesh/api';

/** Timeouts in milliseconds; tests shorten them. */
export interface StreamTimes {
  readonly connectTimeout: number;
  readonly keepaliveTime: number;
  readonly keepaliveTimeout: number;
  /** Delay before routes are requested again after a refusal. */
  readonly routesRefused: number;
  /** Longest wait of the first mesh state for its routes. */
  readonly firstRoutes: number;
}

/** The end of a stream. */
export interface StreamEnd {
  /** Whether the connection was established. */
  readonly connected: boolean;
  /** Whether the connection had closed, or its server had sent GOAWAY, when the stream ended. */
  readonly transportClosed: boolean;
  /** gRPC status code. */
  readonly code: number;
  readonly details: string;
  /** Set if the client failed before it connected; `setting` is the unusable one, if known. */
  readonly failure?: { readonly setting: string | undefined };
}

/** One delta stream on a dedicated connection. A message is read only after a call of `next`. */
export interface DeltaStream {
  send(request: Buffer): void;
  /** Resolves with the next message, or `undefined` after the end of the stream. */
  next(): Promise<Buffer | undefined>;
  readonly ended: Promise<StreamEnd>;
  close(): void;
}

const mebibyte = 1024 * 1024;

const asIs = (bytes: Buffer): Buffer => bytes;

/** Options of {@link openDeltaStream}. */
interface DeltaStreamOptions {
  readonly target: string;
  readonly credentials: ChannelCredentials;
  readonly metadata: Metadata;
  readonly channelOptions: ChannelOptions;
  readonly times: StreamTimes;
  readonly onConnected: () => void;
}

/** Opens a delta stream (docs/contract.md 3.1). Never throws: `ended` reports failures. */
export function openDeltaStream(options: DeltaStreamOptions): DeltaStream {
  const { target, credentials, metadata, channelOptions, times, onConnected } = options;
  const client = new Client(target, credentials, {
    'grpc.max_receive_message_length': 200 * mebibyte,
    'grpc-node.flow_control_window': 4 * mebibyte,
    'grpc.keepalive_time_ms': times.keepaliveTime,
    'grpc.keepalive_timeout_ms': times.keepaliveTimeout,
    // The control plane is inside the cluster: no HTTP proxy, no service configuration from DNS, no hidden retries,
    // and no subchannel shared with an earlier connection, whose roots may be outdated.
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
    ...channelOptions,
  });
  let paced: PacedCall | undefined;
  const call = client.makeBidiStreamRequest<Buffer, Buffer>(xds.deltaMethodPath, asIs, asIs, metadata, {
    interceptors: [
      (options, nextCall) => {
        paced = new PacedCall(nextCall(options));
        return paced;
      },
    ],
  });

  let connected = false;
  let end: StreamEnd | undefined;
  let overridden: Pick<StatusObject, 'code' | 'details'> | undefined;
  const waiting: ((message: Buffer | undefined) => void)[] = [];
  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<StreamEnd>();

  const cancel = (code: number, details: string): void => {
    overridden ??= { code, details };
    call.cancel();
  };
  const connectTimer = setTimeout(
    () => cancel(status.UNAVAILABLE, `no connection within ${times.connectTimeout} ms`),
    times.connectTimeout,
  );
  watchUntilReady(client, () => {
    connected = true;
    clearTimeout(connectTimer);
    onConnected();
  });

  call.on('data', (message: Buffer) => waiting.shift()?.(message));
  // The status event follows with the same error.
  call.on('error', () => {});
  call.on('status', (final: StatusObject) => {
    clearTimeout(connectTimer);
    const { code, details } = overridden ?? final;
    // The channel learns of a closed transport after the streams of that transport have ended.
    setImmediate(() => {
      const transportClosed =
        connected && client.getChannel().getConnectivityState(false) !== connectivityState.READY;
      end = { connected, transportClosed, code, details };
      client.close();
      for (const resolve of waiting.splice(0)) resolve(undefined);
      resolveEnded(end);
    });
  });

  return {
    ended,
    send: (request) => {
      if (end === undefined) call.write(request);
    },
    next: () => {
      if (end !== undefined) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        waiting.push(resolve);
        paced?.allowRead();
      });
    },
    close: () => cancel(status.CANCELLED, 'closed by this proxy'),
  };
}

function watchUntilReady(client: Client, ready: () => void): void {
  const channel = client.getChannel();
  const look = (): void => {
    // The call connects.
    const state = channel.getConnectivityState(false);
    if (state === connectivityState.READY) ready();
    else if (state !== connectivityState.SHUTDOWN) {
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, (error) => {
        if (!error) look();
      });
    }
  };
  look();
}

/**
 * A call that reads a message only after `allowRead`. Without it a stream buffers up to 16 messages of up to 200 MiB
 * each while the first is being applied; with it, HTTP/2 flow control applies backpressure to the sender.
 */
class PacedCall extends InterceptingCall {
  #allowed = 0;
  #wanted = 0;

  override startRead(): void {
    this.#wanted++;
    this.#readIfBoth();
  }

  /** Allows one more message. */
  allowRead(): void {
    this.#allowed++;
    this.#readIfBoth();
  }

  #readIfBoth(): void {
    if (this.#allowed === 0 || this.#wanted === 0) return;
    this.#allowed--;
    this.#wanted--;
    super.startRead();
  }
}
