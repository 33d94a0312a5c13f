import { type Identity, KmeshError } from '@kmesh/api';
import { emptyChange, type MeshState } from '@kmesh/orchestration';
import { type KernelPath, type KernelTables, startKernelPath, withdrawEarlier } from '@kmesh/runtime';
import type { CertificateManager } from '../certificates/certificate-manager.ts';
import type { RevocationStore } from '../certificates/revocation-store.ts';
import type { Config } from '../config/config.ts';
import type { DaemonLog } from './telemetry.ts';

/** The kernel path, or the reason for its absence. */
interface StartedKernelPath {
  readonly path: KernelPath | undefined;
  /** Why the kernel path is off; empty while it is on. */
  readonly off: string;
  /**
   * Resolves when the programs of an earlier daemon decide nothing more. Policies must not be acknowledged before:
   * these programs might not obey them.
   */
  readonly earlierEnded: Promise<void>;
}

/** Starts the kernel path if settings and machine allow it; otherwise withdraws the programs of an earlier daemon. */
export async function kernelPathOf(
  config: Config,
  state: MeshState,
  log: DaemonLog,
  certainty: IdentityCertainty,
): Promise<StartedKernelPath> {
  const logger = log.logger.child('kernel');
  const disabled = disablingSetting(config);
  if (disabled !== undefined) {
    const earlierEnded = withdrawEarlier(config.kernelPath, config.nodeName, logger);
    return { path: undefined, off: disabled, earlierEnded };
  }
  const node = { node: config.nodeName, network: config.network, clusterId: config.clusterId };
  try {
    return {
      path: await startKernelPath(config.kernelPath, node, state, logger, (identity) =>
        certainty.isCertain(identity),
      ),
      off: '',
      earlierEnded: Promise.resolve(),
    };
  } catch (error) {
    const off = error instanceof KmeshError ? error.message : String(error);
    const earlierEnded = withdrawEarlier(config.kernelPath, config.nodeName, logger);
    log.logger.warn('no kernel path: every connection takes the tunnel path', { error: off });
    return { path: undefined, off, earlierEnded };
  }
}

/** Returns the setting that disables the kernel path, if any. */
function disablingSetting(config: Config): string | undefined {
  if (!config.proxyEnabled) return 'ENABLE_PROXY=false';
  if (!config.kernelPath.enabled) return 'KMESH_KERNEL_PATH=false';
  // The programs cannot ask for what the tables lack, and treat an unknown address as outside the mesh.
  return config.xdsOnDemand ? 'XDS_ON_DEMAND=true' : undefined;
}

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
