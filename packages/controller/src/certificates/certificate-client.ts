import type { Client, ClientOptions, Metadata, ServiceError } from '@grpc/grpc-js';
import { caProto, type Identity, KmeshError, type Logger } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import {
  type ControlPlane,
  type ControlPlaneSettings,
  channelCredentials,
  grpcTarget,
  requestMetadata,
  tlsChannelOptions,
} from '../xds/control-plane.ts';
import type { CertificateSource, IssuedCertificate } from './certificate-manager.ts';
import { createCertificateRequest, parseCertificateResponse } from './certificate-messages.ts';
import { type DirectoryWatchOptions, watchDirectoryOf } from './directory-watch.ts';

export interface CertificateClientOptions {
  /** `CA_ADDRESS`, `CA_ROOT_CA`, `ALT_CA_HOSTNAME`, `AUTH_TOKEN`, `CA_HEADER_*`. */
  readonly controlPlane: ControlPlane;
  /** `SECRET_TTL`. */
  readonly lifetimeSeconds: number;
  /** Shared mode: ask on behalf of the pod. Dedicated mode: ask for oneself. */
  readonly impersonate: boolean;
  readonly logger: Logger;
  /** Longest time for one call, in milliseconds. Default 10 s. */
  readonly callMilliseconds?: number;
  readonly watch?: DirectoryWatchOptions;
}

const settings: ControlPlaneSettings = {
  address: 'CA_ADDRESS',
  rootCa: 'CA_ROOT_CA',
  alternativeHostname: 'ALT_CA_HOSTNAME',
  token: 'AUTH_TOKEN',
  headers: 'CA_HEADER_',
};

const channelOptions: ClientOptions = {
  // The manager has its own back-off: a channel that sleeps longer than it would only hide a recovered istiod.
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 5000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Channels to the same address differ in their roots and must not share connections.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
};

/** Asks istiod's certificate service for workload certificates. Ambient contract 5. */
export class CertificateClient {
  readonly #options: CertificateClientOptions;
  readonly #stopWatching: () => void;
  #channel: Client | undefined;
  #stale = true;
  #rebuilding: Promise<Client> | undefined;

  constructor(options: CertificateClientOptions) {
    this.#options = options;
    const { rootCa } = options.controlPlane;
    const isFile = rootCa !== 'SYSTEM' && !rootCa.includes('-----BEGIN');
    const markStale = (): void => {
      this.#stale = true;
    };
    this.#stopWatching = isFile ? watchDirectoryOf(rootCa, markStale, options.watch) : () => undefined;
  }

  /** The form in which the certificate manager takes this client. */
  readonly source: CertificateSource = (identity, signal) => this.issue(identity, signal);

  /**
   * One certificate with a new key.
   *
   * @throws KMESH_CA_UNREACHABLE, KMESH_CA_REFUSED (with istiod's own words), KMESH_SETTING_UNUSABLE (roots or token),
   * and what {@link parseCertificateResponse} throws.
   */
  async issue(identity: Identity, signal?: AbortSignal): Promise<IssuedCertificate> {
    const uri = formatIdentityUri(identity);
    const { controlPlane, impersonate, lifetimeSeconds } = this.#options;
    const metadata = await requestMetadata(controlPlane, settings);
    const channel = await this.#connection();
    const { pem, privateKey } = await createCertificateRequest(uri);
    signal?.throwIfAborted();
    const request: caProto.IstioCertificateRequest = { csr: pem, validityDuration: lifetimeSeconds };
    if (impersonate) request.metadata = { fields: { ImpersonatedIdentity: { stringValue: uri } } };
    const elements = await this.#call(channel, request, metadata, signal);
    const chain = parseCertificateResponse(elements, { uri: impersonate ? uri : undefined, privateKey });
    return { ...chain, privateKey };
  }

  close(): void {
    this.#stopWatching();
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** The channel, rebuilt when the roots changed. While they cannot be read the old one stays. */
  #connection(): Promise<Client> {
    if (!this.#stale && this.#channel !== undefined) return Promise.resolve(this.#channel);
    this.#rebuilding ??= this.#rebuild().finally(() => {
      this.#rebuilding = undefined;
    });
    return this.#rebuilding;
  }

  async #rebuild(): Promise<Client> {
    const { controlPlane, logger } = this.#options;
    const old = this.#channel;
    // Before reading: a change that comes in between must not be lost.
    this.#stale = false;
    try {
      const credentials = await channelCredentials(controlPlane, settings);
      const options = { ...channelOptions, ...tlsChannelOptions(controlPlane) };
      // Loaded by the first certificate: it is a third of the daemon's code, and the start does not need it.
      const { Client } = await import('@grpc/grpc-js');
      const fresh = new Client(grpcTarget(controlPlane.address), credentials, options);
      this.#channel = fresh;
      old?.close();
      return fresh;
    } catch (cause) {
      this.#stale = true;
      if (old === undefined) throw cause;
      logger.warn(
        'CA_ROOT_CA: the new roots are unusable; the current connection is kept until they can be read',
        {
          error: cause instanceof Error ? cause.message : String(cause),
        },
      );
      return old;
    }
  }

  #call(
    channel: Client,
    request: caProto.IstioCertificateRequest,
    metadata: Metadata,
    signal: AbortSignal | undefined,
  ): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      const call = channel.makeUnaryRequest(
        caProto.createCertificatePath,
        (message: caProto.IstioCertificateRequest) => caProto.IstioCertificateRequest.encode(message),
        (bytes: Buffer) => caProto.IstioCertificateResponse.decode(bytes),
        request,
        metadata,
        { deadline: Date.now() + (this.#options.callMilliseconds ?? 10_000) },
        (error, response) => {
          signal?.removeEventListener('abort', cancel);
          if (error === null) resolve(response?.certChain ?? []);
          else reject(callError(this.#options.controlPlane.address, error));
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}

/** gRPC DeadlineExceeded and Unavailable. */
const unreachable: ReadonlySet<number> = new Set([4, 14]);

function callError(address: string, error: ServiceError): KmeshError {
  return unreachable.has(error.code)
    ? new KmeshError('KMESH_CA_UNREACHABLE', `CA_ADDRESS: ${address} cannot be reached: ${error.details}`, {
        cause: error,
      })
    : new KmeshError('KMESH_CA_REFUSED', `${address} refused the certificate: ${error.message}`, {
        cause: error,
      });
}
