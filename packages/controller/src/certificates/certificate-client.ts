import { checkServerIdentity, createSecureContext, type PeerCertificate } from 'node:tls';
import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { caProto, type Identity, KmeshError, type Logger } from '@kmesh/api';
import type { TokenSource } from './bearer-token.ts';
import type { CertificateSource, IssuedCertificate } from './certificate-manager.ts';
import { createCertificateRequest } from './certificate-request.ts';
import { parseCertificateResponse } from './certificate-response.ts';
import type { DirectoryWatchOptions } from './directory-watch.ts';
import { type RootCertificates, readRootCertificates, watchRootCertificates } from './root-certificates.ts';
import { identityUri } from './spiffe-identity.ts';

export interface CertificateClientOptions {
  /** `https://host:port`; `http://` for a plaintext test authority. */
  readonly address: string;
  readonly roots: RootCertificates;
  /** Second accepted name of the server, `ALT_CA_HOSTNAME`. */
  readonly alternativeHostname: string | undefined;
  readonly clusterId: string;
  /** Further metadata, `CA_HEADER_*`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly token: TokenSource;
  /** `SECRET_TTL`. */
  readonly lifetimeSeconds: number;
  /** Shared mode: ask on behalf of the pod. Dedicated mode: ask for oneself. */
  readonly impersonate: boolean;
  readonly tls12Enabled: boolean;
  readonly logger: Logger;
  /** Longest time for one call, in milliseconds. Default 10 s. */
  readonly callMilliseconds?: number;
  readonly watch?: DirectoryWatchOptions;
}

const channelOptions: ClientOptions = {
  // The manager has its own back-off: a channel that sleeps longer than it would only hide a recovered istiod.
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 5000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
};

/** Asks istiod's certificate service for workload certificates. Ambient contract 5. */
export class CertificateClient {
  readonly #options: CertificateClientOptions;
  readonly #target: string;
  readonly #plaintext: boolean;
  readonly #stopWatching: () => void;
  #channel: Client | undefined;
  #stale = true;

  /** @throws KMESH_CONFIG_INVALID when the address is not a URI. */
  constructor(options: CertificateClientOptions) {
    this.#options = options;
    const uri = parseAddress(options.address);
    this.#plaintext = uri.protocol === 'http:';
    this.#target = `dns:///${uri.hostname}:${uri.port || (this.#plaintext ? '80' : '443')}`;
    this.#stopWatching = watchRootCertificates(
      options.roots,
      () => {
        this.#stale = true;
      },
      options.watch,
    );
  }

  /** The form in which the certificate manager takes this client. */
  readonly source: CertificateSource = (identity, signal) => this.issue(identity, signal);

  /**
   * One certificate with a new key.
   *
   * @throws KMESH_CA_UNREACHABLE, KMESH_CA_REFUSED (istiod's own words), KMESH_CA_ROOT_UNREADABLE,
   * KMESH_TOKEN_UNREADABLE, and what {@link parseCertificateResponse} throws.
   */
  async issue(identity: Identity, signal?: AbortSignal): Promise<IssuedCertificate> {
    const uri = identityUri(identity);
    const metadata = await this.#metadata();
    const { pem, privateKey } = await createCertificateRequest(uri);
    const { impersonate, lifetimeSeconds } = this.#options;
    const request: caProto.IstioCertificateRequest = { csr: pem, validityDuration: lifetimeSeconds };
    if (impersonate) request.metadata = { fields: { ImpersonatedIdentity: { stringValue: uri } } };
    const elements = await this.#call(this.#connection(), request, metadata, signal);
    const chain = parseCertificateResponse(elements, { uri: impersonate ? uri : undefined, privateKey });
    return { ...chain, privateKey };
  }

  close(): void {
    this.#stopWatching();
    this.#channel?.close();
    this.#channel = undefined;
  }

  async #metadata(): Promise<Metadata> {
    const metadata = new Metadata();
    metadata.set('clusterid', this.#options.clusterId);
    for (const [name, value] of Object.entries(this.#options.headers))
      metadata.set(name.toLowerCase(), value);
    const token = await this.#options.token();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    return metadata;
  }

  /** The channel, rebuilt when the roots changed. While they cannot be read the old one stays. */
  #connection(): Client {
    if (!this.#stale && this.#channel !== undefined) return this.#channel;
    try {
      const fresh = new Client(this.#target, this.#credentials(), channelOptions);
      const old = this.#channel;
      this.#channel = fresh;
      this.#stale = false;
      old?.close();
      return fresh;
    } catch (cause) {
      if (this.#channel === undefined) throw cause;
      this.#options.logger.warn(
        'new CA roots are unusable; the old ones stay in use until they can be read',
        {
          error: cause instanceof Error ? cause.message : String(cause),
        },
      );
      return this.#channel;
    }
  }

  #credentials(): ChannelCredentials {
    if (this.#plaintext) return credentials.createInsecure();
    const context = createSecureContext({
      ca: readRootCertificates(this.#options.roots),
      minVersion: this.#options.tls12Enabled ? 'TLSv1.2' : 'TLSv1.3',
    });
    const alternative = this.#options.alternativeHostname;
    return credentials.createFromSecureContext(context, {
      checkServerIdentity: (hostname: string, certificate: PeerCertificate) => {
        const error = checkServerIdentity(hostname, certificate);
        return error === undefined || alternative === undefined
          ? error
          : checkServerIdentity(alternative, certificate);
      },
    });
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
          else reject(callError(this.#options.address, error));
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}

function parseAddress(address: string): URL {
  try {
    const uri = new URL(address);
    if ((uri.protocol === 'https:' || uri.protocol === 'http:') && uri.hostname !== '') return uri;
  } catch {
    // Reported below, with the rest.
  }
  throw new KmeshError(
    'KMESH_CONFIG_INVALID',
    `CA_ADDRESS is "${address}"; a URI such as https://istiod:15012 is allowed`,
  );
}

const unreachable = new Set([4, 14]);

function callError(address: string, error: ServiceError): KmeshError {
  if (unreachable.has(error.code)) {
    return new KmeshError(
      'KMESH_CA_UNREACHABLE',
      `istiod at ${address} cannot be reached for certificates: ${error.details}`,
      {
        cause: error,
      },
    );
  }
  return new KmeshError(
    'KMESH_CA_REFUSED',
    `istiod at ${address} refused the certificate: ${error.message}`,
    {
      cause: error,
    },
  );
}
