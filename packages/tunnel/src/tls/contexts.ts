import { KmeshError } from '@kmesh/api';
import { nativeTunnel, type TunnelHandle } from '../engine/native.ts';
import type { RevocationSource, TunnelCertificate } from '../options.ts';

interface Pair {
  revision: number;
  client: TunnelHandle | undefined;
  server: TunnelHandle | undefined;
}

/**
 * TLS contexts (contract 6.1), one per certificate and side, created on first use and again after the revocation
 * lists changed. A context is freed with the last reference to its certificate.
 */
export class TlsContexts {
  readonly #pairs = new WeakMap<TunnelCertificate, Pair>();
  readonly #revocations: RevocationSource | undefined;
  readonly #tls12: boolean;
  readonly #postQuantumOnly: boolean;
  #revision = 0;

  constructor(options: {
    revocations: RevocationSource | undefined;
    tls12: boolean;
    postQuantumOnly: boolean;
  }) {
    this.#revocations = options.revocations;
    this.#tls12 = options.tls12;
    this.#postQuantumOnly = options.postQuantumOnly;
  }

  /** Applies new revocation lists to contexts created from now on. */
  revocationsChanged(): void {
    this.#revision += 1;
  }

  client(certificate: TunnelCertificate): TunnelHandle {
    const pair = this.#pair(certificate);
    pair.client ??= this.#make(certificate, false);
    return pair.client;
  }

  server(certificate: TunnelCertificate): TunnelHandle {
    const pair = this.#pair(certificate);
    pair.server ??= this.#make(certificate, true);
    return pair.server;
  }

  #pair(certificate: TunnelCertificate): Pair {
    let pair = this.#pairs.get(certificate);
    if (pair === undefined || pair.revision !== this.#revision) {
      pair = { revision: this.#revision, client: undefined, server: undefined };
      this.#pairs.set(certificate, pair);
    }
    return pair;
  }

  #make(certificate: TunnelCertificate, server: boolean): TunnelHandle {
    const made = nativeTunnel().tunnelTlsContext(
      server,
      certificate.certificateChainPem,
      certificate.privateKeyPem,
      certificate.rootsPem.join('\n'),
      this.#revocations?.lists ?? [],
      this.#tls12,
      this.#postQuantumOnly,
    );
    if (typeof made !== 'string') return made;
    throw new KmeshError(
      'KMESH_TUNNEL_CERTIFICATE',
      `the certificate, key or trust bundle from the authority cannot be used for TLS: ${made}`,
    );
  }
}
