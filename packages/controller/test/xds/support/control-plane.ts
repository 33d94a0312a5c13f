import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { xds } from '@kmesh/api';

type Request = ReturnType<typeof xds.DeltaDiscoveryRequest.decode>;
type Call = grpc.ServerDuplexStream<Buffer, Buffer>;

/** One stream at the control plane, under the test's control. */
export class ServedStream {
  readonly metadata: grpc.Metadata;
  readonly requests: Request[] = [];
  readonly #call: Call;
  #taken = 0;

  constructor(call: Call) {
    this.#call = call;
    this.metadata = call.metadata;
    call.on('data', (bytes: Buffer) => {
      this.requests.push(xds.DeltaDiscoveryRequest.decode(bytes));
      call.emit('request');
    });
    call.on('error', () => {});
  }

  /** The next request that no earlier call has returned. */
  async request(): Promise<Request> {
    while (this.requests.length <= this.#taken) await once(this.#call, 'request');
    const request = this.requests[this.#taken++];
    if (request === undefined) throw new Error('no request');
    return request;
  }

  /** Both first requests. */
  async subscriptions(): Promise<readonly [Request, Request]> {
    return [await this.request(), await this.request()];
  }

  send(response: xds.DeltaDiscoveryResponse | Buffer): void {
    this.#call.write(Buffer.isBuffer(response) ? response : xds.DeltaDiscoveryResponse.encode(response));
  }

  /** Sends a response and returns the client's answer. */
  async exchange(response: xds.DeltaDiscoveryResponse): Promise<Request> {
    this.send(response);
    return await this.request();
  }

  end(): void {
    this.#call.end();
  }

  fail(code: grpc.status, details: string): void {
    this.#call.emit('error', Object.assign(new Error(details), { code, details }));
  }
}

/** A control plane in the test process that only sends what the test sends. */
export class ScriptedControlPlane {
  readonly address: string;
  readonly port: number;
  readonly streams: ServedStream[] = [];
  readonly #server: grpc.Server;
  readonly #waiting: ((stream: ServedStream) => void)[] = [];
  #taken = 0;

  private constructor(server: grpc.Server, port: number, secure: boolean) {
    this.#server = server;
    this.port = port;
    this.address = `${secure ? 'https' : 'http'}://127.0.0.1:${port}`;
  }

  /** Listens on loopback; `port` 0 selects a free one. */
  static async start(
    credentials: grpc.ServerCredentials = grpc.ServerCredentials.createInsecure(),
    port = 0,
  ): Promise<ScriptedControlPlane> {
    const server = new grpc.Server({
      'grpc.max_receive_message_length': -1,
      'grpc-node.flow_control_window': 4 * 1024 * 1024,
    });
    let plane: ScriptedControlPlane | undefined;
    const asIs = (bytes: Buffer): Buffer => bytes;
    server.addService(
      {
        delta: {
          path: xds.deltaMethodPath,
          requestStream: true,
          responseStream: true,
          requestSerialize: asIs,
          requestDeserialize: asIs,
          responseSerialize: asIs,
          responseDeserialize: asIs,
        },
      },
      { delta: (call: Call) => plane?.accept(call) },
    );
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error, actual) =>
        error ? reject(error) : resolve(actual),
      );
    });
    plane = new ScriptedControlPlane(server, bound, credentials._isSecure());
    return plane;
  }

  accept(call: Call): void {
    const stream = new ServedStream(call);
    this.streams.push(stream);
    this.#waiting.shift()?.(stream);
  }

  /** The next stream that no earlier call has returned. */
  async stream(): Promise<ServedStream> {
    const index = this.#taken++;
    const known = this.streams[index];
    return known ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Cuts every connection. */
  close(): void {
    this.#server.forceShutdown();
  }
}
