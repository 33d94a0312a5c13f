import { KmeshError, type Workload } from '@kmesh/api';
import type { MeshState } from './mesh-state.ts';

/** How long a connection waits for its own workload (contract 6.6, 7.2), in milliseconds. */
const WORKLOAD_WAIT_MILLISECONDS = 5_000;

/** How {@link waitForWorkload} waits. */
interface WorkloadWaitOptions {
  /** At most this long; {@link WORKLOAD_WAIT_MILLISECONDS} by default. */
  readonly limitMilliseconds?: number;
  /** Named in the error. */
  readonly description?: string;
}

/**
 * The workload that `find` finds, at once or as soon as a push brings it.
 *
 * @throws {KmeshError} `KMESH_WORKLOAD_UNKNOWN` when the limit passes without it.
 */
export function waitForWorkload(
  state: Pick<MeshState, 'subscribe'>,
  find: () => Workload | undefined,
  options: WorkloadWaitOptions = {},
): Promise<Workload> {
  const present = find();
  if (present !== undefined) return Promise.resolve(present);
  const limit = options.limitMilliseconds ?? WORKLOAD_WAIT_MILLISECONDS;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      unsubscribe();
      const subject = options.description ?? 'its own workload';
      reject(
        new KmeshError(
          'KMESH_WORKLOAD_UNKNOWN',
          `The control plane sent nothing about ${subject} within ${limit} ms; check that istiod knows the pod ` +
            'and that the xDS connection is up.',
        ),
      );
    }, limit);
    const unsubscribe = state.subscribe(() => {
      const workload = find();
      if (workload === undefined) return;
      clearTimeout(timer);
      unsubscribe();
      resolve(workload);
    });
  });
}
