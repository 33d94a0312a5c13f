import { KmeshError } from '@kmesh/api';
import type { MeshState } from '@kmesh/orchestration';
import { type KernelPath, startKernelPath, withdrawEarlier } from '@kmesh/runtime';
import type { Config } from '../config/config.ts';
import type { IdentityCertainty } from './identity-certainty.ts';
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
  const disabled = config.proxyEnabled
    ? config.kernelPath.enabled
      ? undefined
      : 'KMESH_KERNEL_PATH=false'
    : 'ENABLE_PROXY=false';
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
