import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { xds } from '@kmesh/api';
import type { FakeIstiod } from '../../src/istiod/istiod-interface.ts';

export type Response = ReturnType<typeof xds.DeltaDiscoveryResponse.decode>;

/** A delta client under the test's control: sends requests and collects responses. */
export interface DeltaClient {
  send(request: xds.DeltaDiscoveryRequest): void;
  /** The next response; fails after two seconds. */
  next(): Promise<Response>;
  readonly status: Promise<StatusObject>;
  readonly pending: number;
  close(): void;
}

export const testNode: xds.Node = {
  id: 'ztunnel~1.1.1.1~z.istio-system~istio-system.svc.cluster.local',
  metadata: { fields: { NAMESPACE: { stringValue: 'istio-system' }, NODE_NAME: { stringValue: 'node-a' } } },
};

export function deltaClient(istiod: FakeIstiod, headers: Record<string, string> = {}): DeltaClient {
  const client = new Client(
    istiod.xdsAddress.replace('https://', 'dns:///'),
    credentials.createSsl(Buffer.from(istiod.rootPem)),
    {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
    },
  );
  const metadata = new Metadata();
  for (const [name, value] of Object.entries({
    authorization: `Bearer ${istiod.token}`,
    clusterid: 'Kubernetes',
    ...headers,
  })) {
    metadata.set(name, value);
  }
  const call: ClientDuplexStream<xds.DeltaDiscoveryRequest, Response> = client.makeBidiStreamRequest(
    xds.deltaMethodPath,
    (message: xds.DeltaDiscoveryRequest) => xds.DeltaDiscoveryRequest.encode(message),
    (bytes: Buffer) => xds.DeltaDiscoveryResponse.decode(bytes),
    metadata,
  );
  const arrived: Response[] = [];
  let wake: () => void = () => undefined;
  call.on('data', (response: Response) => {
    arrived.push(response);
    wake();
  });
  call.on('error', () => undefined);
  const status = new Promise<StatusObject>((resolve) => call.on('status', resolve));
  return {
    send: (request) => call.write(request),
    next: async () => {
      const deadline = Date.now() + 2000;
      while (arrived.length === 0) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(resolve, Math.max(0, deadline - Date.now()));
        await promise;
        clearTimeout(timer);
        if (Date.now() >= deadline && arrived.length === 0) throw new Error('no response within 2 s');
      }
      const response = arrived.shift();
      if (response === undefined) throw new Error('unreachable');
      return response;
    },
    status,
    get pending() {
      return arrived.length;
    },
    close: () => {
      call.cancel();
      client.close();
    },
  };
}
