import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { caProto, KmeshError, xds } from '@kmesh/api';

export type AdsCall = ServerDuplexStream<xds.DeltaDiscoveryRequest, Buffer>;
export type CertificateRpc = ServerUnaryCall<
  caProto.IstioCertificateRequest,
  caProto.IstioCertificateResponse
>;

interface GrpcServerOptions {
  /** Absent: plaintext. */
  readonly tls: { readonly certificatePem: string; readonly privateKeyPem: string } | undefined;
  readonly maximumRequestBytes: number;
  readonly onStream: (call: AdsCall) => void;
  /** Absent: the certificate service is not offered, as on istiod's plaintext port. */
  readonly onCertificate:
    | ((call: CertificateRpc, reply: sendUnaryData<caProto.IstioCertificateResponse>) => void)
    | undefined;
}

export interface RunningGrpcServer {
  readonly port: number;
  /** Sends GOAWAY on every connection; streams that are still open after the grace time are cancelled. */
  goaway(graceMilliseconds: number): void;
  close(): void;
}

const adsService: ServiceDefinition = {
  DeltaAggregatedResources: {
    path: xds.deltaMethodPath,
    requestStream: true,
    responseStream: true,
    requestSerialize: (message: xds.DeltaDiscoveryRequest) => xds.DeltaDiscoveryRequest.encode(message),
    requestDeserialize: (bytes: Buffer) => xds.DeltaDiscoveryRequest.decode(bytes),
    // Responses are encoded by the stream, so that tests may send any bytes.
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
};

const certificateService: ServiceDefinition = {
  CreateCertificate: {
    path: caProto.createCertificatePath,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: caProto.IstioCertificateRequest) =>
      caProto.IstioCertificateRequest.encode(message),
    requestDeserialize: (bytes: Buffer) => caProto.IstioCertificateRequest.decode(bytes),
    responseSerialize: (message: caProto.IstioCertificateResponse) =>
      caProto.IstioCertificateResponse.encode(message),
    responseDeserialize: (bytes: Buffer) => caProto.IstioCertificateResponse.decode(bytes),
  },
};

/** Returns the first value of a request header, as text. */
export function header(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return value === undefined ? undefined : String(value);
}

/** Returns all request headers, as text. */
export function headers(metadata: Metadata): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)]));
}

/** Starts a gRPC server on a free loopback port. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<RunningGrpcServer> {
  const server = new Server({
    'grpc.max_receive_message_length': options.maximumRequestBytes,
    'grpc.max_send_message_length': -1,
  });
  server.addService(adsService, { DeltaAggregatedResources: options.onStream });
  if (options.onCertificate !== undefined) {
    server.addService(certificateService, { CreateCertificate: options.onCertificate });
  }
  const credentials =
    options.tls === undefined
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(null, [
          {
            cert_chain: Buffer.from(options.tls.certificatePem),
            private_key: Buffer.from(options.tls.privateKeyPem),
          },
        ]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else
        reject(
          new KmeshError('KMESH_LAB_ISTIOD', `the fake istiod cannot listen: ${error.message}`, {
            cause: error,
          }),
        );
    });
  });
  return {
    port,
    goaway: (graceMilliseconds) => server.drain(`127.0.0.1:${port}`, graceMilliseconds),
    close: () => server.forceShutdown(),
  };
}
