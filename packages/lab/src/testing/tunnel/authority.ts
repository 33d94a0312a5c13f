import type { Identity } from '@kmesh/api';
import type { CertificateSource, TunnelCertificate } from '@kmesh/tunnel';
import { type Authority, createAuthority, type LeafOptions } from '../../pki/authority.ts';

interface TestCertificate extends TunnelCertificate {
  readonly serial: bigint;
}

/** Certificates of one mesh authority, issued on first request and replaced by {@link TestAuthority.rotate}. */
export class TestAuthority implements CertificateSource {
  readonly authority: Authority;
  readonly #issued = new Map<string, TestCertificate>();
  /** Roots to trust; the authority's own by default. */
  roots: string[];
  failure: Error | undefined;
  leaf: Partial<LeafOptions> = {};

  constructor(authority: Authority = createAuthority()) {
    this.authority = authority;
    this.roots = [authority.rootPem];
  }

  current(identity: Identity): TestCertificate | undefined {
    return this.#issued.get(uri(identity));
  }

  async certificate(identity: Identity): Promise<TestCertificate> {
    if (this.failure !== undefined) throw this.failure;
    return this.issue(identity);
  }

  /** As {@link TestAuthority.certificate}, without waiting. */
  issue(identity: Identity): TestCertificate {
    const known = this.#issued.get(uri(identity));
    if (known !== undefined) return known;
    const made = this.make(uri(identity));
    this.#issued.set(uri(identity), made);
    return made;
  }

  /** A fresh certificate for any URI. */
  make(name: string, options: Partial<LeafOptions> = {}): TestCertificate {
    const issued = this.authority.issue({ uris: [name], ...this.leaf, ...options });
    return {
      certificateChainPem: issued.chainPem,
      privateKeyPem: issued.privateKeyPem,
      rootsPem: this.roots,
      serial: issued.serial,
    };
  }

  /** Replaces the certificate of every identity, effective for later connections. */
  rotate(): void {
    this.#issued.clear();
  }
}

export function uri(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}
