import type { Identity } from '@kmesh/api';
import { emptyChange } from '@kmesh/orchestration';
import type { KernelTables } from '@kmesh/runtime';
import type { CertificateManager } from '../certificates/certificate-manager.ts';
import type { RevocationStore } from '../certificates/revocation-store.ts';
import type { Config } from '../config/config.ts';

/** Interval of checks for expired certificates, in milliseconds. */
const LOOK_EVERY = 1_000;

/** Longest wait for the pods' certificates at start, in milliseconds. */
const CERTIFICATES_WITHIN = 2_000;

/**
 * Decides which identities are certain to the kernel path (bpf/README.md, "Who may talk to whom"): those of this mesh's
 * trust domain for which the daemon holds a certificate that is valid and not revoked. None if `KMESH_SAME_NODE=mtls`.
 */
export class IdentityCertainty {
  readonly #config: Pick<Config, 'trustDomain' | 'kernelPath'>;
  #manager: CertificateManager | undefined;
  #revocations: RevocationStore | undefined;

  constructor(config: Pick<Config, 'trustDomain' | 'kernelPath'>) {
    this.#config = config;
  }

  isCertain(identity: Identity): boolean {
    const { kernelPath, trustDomain } = this.#config;
    if (kernelPath.sameNode === 'mtls' || identity.trustDomain !== trustDomain) return false;
    const certificate = this.#manager?.current(identity);
    if (certificate === undefined) return false;
    return this.#revocations?.isRevoked(certificate.chain, certificate.roots) === false;
  }

  /**
   * Waits for the certificates of the enrolled pods, for a limited time: while an identity is not certain, live
   * connections of an earlier daemon would be reset.
   */
  async settled(tables: KernelTables): Promise<void> {
    const manager = this.#manager;
    if (manager === undefined || this.#config.kernelPath.sameNode === 'mtls') return;
    const wait = { waitMilliseconds: CERTIFICATES_WITHIN };
    const identities = tables
      .identities()
      .filter(({ trustDomain }) => trustDomain === this.#config.trustDomain);
    await Promise.allSettled(identities.map((identity) => manager.certificate(identity, 'Warmup', wait)));
    tables.reconsider();
  }

  /** Updates the tables when certificates change, expire or are revoked. Returns an unsubscribe function. */
  follow(manager: CertificateManager, revocations: RevocationStore, tables: KernelTables): () => void {
    this.#manager = manager;
    this.#revocations = revocations;
    const look = () => {
      if (tables.reconsider()) void tables.apply(emptyChange()).catch(() => undefined);
    };
    const stops = [manager.onChange(look), revocations.onChange(look)];
    const timer = setInterval(look, LOOK_EVERY);
    timer.unref();
    return () => {
      clearInterval(timer);
      for (const stop of stops) stop();
    };
  }
}
