import type { KeyObject, X509Certificate } from 'node:crypto';
import type { Identity } from '@kmesh/api';

interface WorkloadCertificateParts {
  readonly identity: Identity;
  readonly chain: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
  readonly privateKey: KeyObject;
  readonly version: number;
}

function pem(certificate: X509Certificate): string {
  return certificate.toString();
}

/**
 * A certificate that a workload of this node may present, with its key. The key is reachable only through the
 * accessors: inspecting, logging or serialising the object does not show it.
 */
export class WorkloadCertificate {
  readonly identity: Identity;
  /** Leaf first, then the intermediates. */
  readonly chain: readonly X509Certificate[];
  /** The trust bundle that came with it; the only roots that count for peers. */
  readonly roots: readonly X509Certificate[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Grows with every certificate that the manager obtained, whatever its identity. */
  readonly version: number;
  readonly #privateKey: KeyObject;

  constructor(parts: WorkloadCertificateParts) {
    const leaf = parts.chain[0];
    this.identity = parts.identity;
    this.chain = parts.chain;
    this.roots = parts.roots;
    this.notBefore = leaf?.validFromDate.getTime() ?? 0;
    this.notAfter = leaf?.validToDate.getTime() ?? 0;
    this.version = parts.version;
    this.#privateKey = parts.privateKey;
  }

  /** Leaf and intermediates, as the `cert` option of TLS takes them. */
  get certificateChainPem(): string {
    return this.chain.map(pem).join('');
  }

  /** The roots, as the `ca` option of TLS takes them. */
  get rootsPem(): readonly string[] {
    return this.roots.map(pem);
  }

  /** The private key; never log it. */
  get privateKey(): KeyObject {
    return this.#privateKey;
  }

  /** PKCS #8 PEM, for handing it to a data thread; never log it. */
  get privateKeyPem(): string {
    return this.#privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  }

  /** What a log line or a dump may know. */
  toJSON(): Record<string, unknown> {
    return {
      identity: this.identity,
      version: this.version,
      notBefore: new Date(this.notBefore).toISOString(),
      notAfter: new Date(this.notAfter).toISOString(),
    };
  }
}
