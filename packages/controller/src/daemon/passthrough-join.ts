import type { Logger } from '@kmesh/api';
import { type JoinPrograms, loadJoinPrograms } from '@kmesh/tunnel';
import type { Config } from '../config/config.ts';
import { testJoin } from './join-self-test.ts';

/** Whether the tunnel joins the sockets of plaintext exchanges in the kernel. */
interface PassthroughJoin {
  readonly programs: JoinPrograms | undefined;
  /** Why it does not although it should; `undefined`: nothing is in the way, or nobody wants it. */
  readonly off: string | undefined;
}

/** Tries it and loads the programs. What is missing or wrong costs the join only: the data threads copy then. */
export async function startPassthroughJoin(
  config: Pick<Config, 'passthroughJoin' | 'workerThreads'>,
  logger: Logger,
): Promise<PassthroughJoin> {
  if (!config.passthroughJoin) return { programs: undefined, off: undefined };
  let off: string;
  try {
    const fault = await testJoin();
    if (fault === undefined) {
      return { programs: await loadJoinPrograms(Math.max(1, config.workerThreads)), off: undefined };
    }
    off = `the self-test failed on this kernel: ${fault}`;
  } catch (error) {
    off = `the self-test could not be run: ${error instanceof Error ? error.message : String(error)}`;
  }
  logger.warn('sockets of plaintext exchanges are not joined in the kernel', { missing: off });
  return { programs: undefined, off };
}
