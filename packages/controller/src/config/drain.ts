import { configError, type Environment, timerSetting } from './values.ts';

/**
 * How long a graceful drain may take, in milliseconds (ambient contract 2.2 and T12): the explicit deadline, else the
 * grace period less 5 s when it is longer than 10 s, else less 1 s, at least 1 s; 5 s when neither is set.
 */
export function drainDeadline(environment: Environment): number {
  if (environment['CONNECTION_TERMINATION_DEADLINE'] !== undefined)
    return timerSetting(environment, 'CONNECTION_TERMINATION_DEADLINE', 0);
  const grace = environment['TERMINATION_GRACE_PERIOD_SECONDS'];
  if (grace === undefined) return 5_000;
  if (!/^\d+$/.test(grace)) {
    throw configError('TERMINATION_GRACE_PERIOD_SECONDS', grace, 'a whole number of seconds is allowed');
  }
  const seconds = Number(grace);
  return Math.min(0x7fff_ffff, Math.max(1, seconds > 10 ? seconds - 5 : seconds - 1) * 1000);
}
