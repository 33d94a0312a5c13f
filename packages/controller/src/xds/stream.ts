import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  connectivityState,
  type Metadata,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { xds } from '@kmesh/api';
import { assembleMessagesOnArrival } from './assemble-messages.ts';
import { PacedCall } from './paced-call.ts';

/** How a stream came to its end. */
export interface StreamEnd {
  /** Whether the connection was ever established. */
  readonly connected: boolean;
  /** gRPC status code. */
  readonly code: number;
  readonly details: string;
}

/** Times that tests shorten; milliseconds. */
export interface StreamTimes {
  readonly connectTimeout: number;
  readonly keepaliveTime: number;
  readonly keepaliveTimeout: number;
}

export const standardTimes: StreamTimes = {
  connectTimeout: 5_000,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
};

/** One delta stream on a connection of its own. Messages come one at a time, each only when it is asked for. */
export interface DeltaStream {
  send(request: Buffer): void;
  /** The next message, or `undefined` when the stream has ended. */
  next(): Promise<Buffer | undefined>;
  readonly ended: Promise<StreamEnd>;
  isConnected(): boolean;
  close(): void;
}

const mebibyte = 1024 * 1024;
assembleMessagesOnArrival();

const asIs = (bytes: Buffer): Buffer => bytes;

/** Opens a delta stream (ambient contract 3.1). Never throws: failures show in `ended`. */
export function openDeltaStream(
  target: string,
  credentials: ChannelCredentials,
  metadata: Metadata,
  channelOptions: ChannelOptions,
  times: StreamTimes,
): DeltaStream {
  const client = new Client(target, credentials, {
    'grpc.max_receive_message_length': 200 * mebibyte,
    'grpc-node.flow_control_window': 4 * mebibyte,
    'grpc.keepalive_time_ms': times.keepaliveTime,
    'grpc.keepalive_timeout_ms': times.keepaliveTimeout,
    // The control plane is inside the cluster: no HTTP proxy, no configuration from DNS, no hidden retries, and
    // nothing shared with an earlier connection, whose roots may be outdated.
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
  });

  call.on('data', (message: Buffer) => waiting.shift()?.(message));
  // The status event follows and tells the same.
  call.on('error', () => {});
  call.on('status', (final: StatusObject) => {
    clearTimeout(connectTimer);
    end = { connected, ...(overridden ?? { code: final.code, details: final.details }) };
    client.close();
    for (const resolve of waiting.splice(0)) resolve(undefined);
    resolveEnded(end);
  });

  return {
    ended,
    isConnected: () => connected && end === undefined,
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
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) ready();
    else if (state !== connectivityState.SHUTDOWN) {
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, (error) => {
        if (!error) look();
      });
    }
  };
  look();
}
