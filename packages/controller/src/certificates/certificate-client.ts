import { caProto, type Identity, KmeshError, type Logger } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { ControlPlane, ControlPlaneSettings } from '../istiod/control-plane.ts';
import { IstiodThread } from '../istiod/thread.ts';
import type { ThreadCalls } from '../istiod/thread-calls.ts';
import type { CertificateSource, IssuedCertificate } from './certificate-manager.ts';
import { createCertificateRequest, parseCertificateResponse } from './certificate-messages.ts';
import { type DirectoryWatchOptions, watchDirectoryOf } from './directory-watch.ts';

export interface CertificateClientOptions {
  /** `CA_ADDRESS`, `CA_ROOT_CA`, `ALT_CA_HOSTNAME`, `AUTH_TOKEN`, `CA_HEADER_*`. */
  readonly controlPlane: ControlPlane;
  /** `SECRET_TTL`. */
  readonly lifetimeSeconds: number;
  /** Shared mode: request certificates on behalf of pods. Dedicated mode: request the proxy's own certificate. */
  readonly impersonate: boolean;
  readonly logger: Logger;
  /** Longest time for one call, in milliseconds. Default 10 s. */
  readonly callMilliseconds?: number;
  readonly watch?: DirectoryWatchOptions;
  /** Thread of the connection. Default: a dedicated thread, which {@link CertificateClient.close} ends. */
  readonly thread?: IstiodThread;
}

const settings: ControlPlaneSettings = {
  address: 'CA_ADDRESS',
  rootCa: 'CA_ROOT_CA',
  alternativeHostname: 'ALT_CA_HOSTNAME',
  token: 'AUTH_TOKEN',
  headers: 'CA_HEADER_',
};

/** Requests workload certificates from istiod's certificate service. Ambient contract 5. */
export class CertificateClient {
  readonly #options: CertificateClientOptions;
  readonly #stopWatching: () => void;
  readonly #calls: ThreadCalls;
  readonly #ownThread: IstiodThread | undefined;

  constructor(options: CertificateClientOptions) {
    this.#options = options;
    const { controlPlane, logger, callMilliseconds = 10_000 } = options;
    const thread = options.thread ?? new IstiodThread();
    this.#ownThread = options.thread === undefined ? thread : undefined;
    this.#calls = thread.calls({ controlPlane, settings, callMilliseconds }, (reason) => {
      const kept = 'the current connection is kept until they can be read';
      logger.warn(`CA_ROOT_CA: the new roots are unusable; ${kept}`, { error: reason });
    });
    const { rootCa } = controlPlane;
    const isFile = rootCa !== 'SYSTEM' && !rootCa.includes('-----BEGIN');
    this.#stopWatching = isFile
      ? watchDirectoryOf(rootCa, () => this.#calls.rootsChanged(), options.watch)
      : () => undefined;
  }

  /** This client as the certificate manager's source. */
  readonly source: CertificateSource = (identity, signal) => this.issue(identity, signal);

  /**
   * Requests one certificate with a new key.
   *
   * @throws KMESH_CA_UNREACHABLE, KMESH_CA_REFUSED (with istiod's message), KMESH_SETTING_UNUSABLE (roots or token), and
   * the errors of {@link parseCertificateResponse}.
   */
  async issue(identity: Identity, signal?: AbortSignal): Promise<IssuedCertificate> {
    const uri = formatIdentityUri(identity);
    const { impersonate, lifetimeSeconds } = this.#options;
    const { pem, privateKey } = await createCertificateRequest(uri);
    const request: caProto.IstioCertificateRequest = { csr: pem, validityDuration: lifetimeSeconds };
    if (impersonate) request.metadata = { fields: { ImpersonatedIdentity: { stringValue: uri } } };
    const answer = await this.#calls.call(caProto.IstioCertificateRequest.encode(request), signal);
    const chain = parseCertificateResponse(certificatesOf(answer), {
      uri: impersonate ? uri : undefined,
      privateKey,
    });
    return { ...chain, privateKey };
  }

  close(): void {
    this.#stopWatching();
    this.#calls[Symbol.dispose]();
    void this.#ownThread?.close();
  }
}

function certificatesOf(answer: Uint8Array): readonly string[] {
  try {
    return caProto.IstioCertificateResponse.decode(Buffer.from(answer)).certChain;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KmeshError('KMESH_CA_RESPONSE_INVALID', `the answer is not a certificate response: ${reason}`);
  }
}
