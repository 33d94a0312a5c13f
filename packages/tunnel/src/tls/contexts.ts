import { X509Certificate } from 'node:crypto';
import { KmeshError } from '@kmesh/api';
import { nativeTunnel, type TunnelHandle } from '../engine/native.ts';
import type { RevocationSource, TunnelCertificate } from '../options.ts';

interface Pair {
  revision: number;
  /** Whether the lists revoke the certificate itself. */
  revoked: boolean;
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

  /** Revision of the revocation lists that contexts have from now on. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Returns whether a peer's chain is revoked by lists newer than `revision`, that of the context which verified it: a
   * handshake ends with the lists it began with.
   */
  isRevokedSince(revision: number, chain: readonly Uint8Array[]): boolean {
    if (revision === this.#revision || chain.length === 0) return false;
    return nativeTunnel().tunnelChainRevoked(chain, this.#revocations?.lists ?? []);
  }

  /** Applies new revocation lists to contexts created from now on. */
  revocationsChanged(): void {
    this.#revision += 1;
  }

  /** @throws KmeshError `KMESH_TUNNEL_CERTIFICATE` */
  client(certificate: TunnelCertificate): TunnelHandle {
    const pair = this.#pair(certificate);
    pair.client ??= this.#make(certificate, false);
    return pair.client;
  }

  /** @throws KmeshError `KMESH_TUNNEL_CERTIFICATE` */
  server(certificate: TunnelCertificate): TunnelHandle {
    const pair = this.#pair(certificate);
    pair.server ??= this.#make(certificate, true);
    return pair.server;
  }

  /**
   * Returns whether the current lists revoke a certificate of this node. It is still shown, so that a peer with the
   * lists reports it; a peer without them would accept it, so no request goes over its sessions.
   */
  isRevoked(certificate: TunnelCertificate): boolean {
    return this.#pair(certificate).revoked;
  }

  #pair(certificate: TunnelCertificate): Pair {
    let pair = this.#pairs.get(certificate);
    if (pair === undefined || pair.revision !== this.#revision) {
      const revoked = isRevoked(certificate, this.#revocations?.lists ?? []);
      pair = { revision: this.#revision, revoked, client: undefined, server: undefined };
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

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Any root may be the one at the end of the chain. */
function isRevoked(certificate: TunnelCertificate, lists: readonly Uint8Array[]): boolean {
  if (lists.length === 0) return false;
  const chain = derOf(certificate.certificateChainPem);
  const { tunnelChainRevoked } = nativeTunnel();
  return derOf(certificate.rootsPem.join('\n')).some((root) => tunnelChainRevoked([...chain, root], lists));
}

function derOf(pem: string): Uint8Array[] {
  return (pem.match(PEM) ?? []).map((one) => new X509Certificate(one).raw);
}
