import { readConfig } from '../config/config.ts';
import type { Environment } from '../config/values.ts';
import { startDaemon } from './daemon.ts';
import { startLog } from './telemetry.ts';

/**
 * Runs the node proxy, the command `proxy`, until a signal or a request stops it (ambient contract 2.1, 2.7).
 *
 * The first SIGTERM or SIGINT starts a drain; a second SIGINT ends the process at once.
 *
 * @returns the exit code: 0 after a drain, 1 after an unrecoverable failure.
 * @throws KMESH_CONFIG_INVALID and KMESH_LISTEN_FAILED when it cannot start.
 */
export async function runProxy(environment: Environment, args: readonly string[]): Promise<number> {
  const config = readConfig(environment, { arguments: args });
  const log = startLog(config);
  // Without a listener, the signal opens Node's inspector, which runs code from any local process.
  process.on('SIGUSR1', () => log.logger.info('SIGUSR1 has no effect'));
  // Closing waits for threads, which do not keep the process alive by themselves.
  const alive = setInterval(() => undefined, 2 ** 30);
  try {
    const daemon = await startDaemon(config, log);
    const onTerminate = (): void => daemon.drain('SIGTERM');
    let interrupts = 0;
    const onInterrupt = (): void => {
      interrupts++;
      if (interrupts === 1) daemon.drain('SIGINT');
      else process.exit(0);
    };
    process.on('SIGTERM', onTerminate);
    process.on('SIGINT', onInterrupt);
    try {
      return await daemon.ended;
    } finally {
      process.off('SIGTERM', onTerminate);
      process.off('SIGINT', onInterrupt);
    }
  } finally {
    log.close();
    clearInterval(alive);
  }
}
