import { configError, cpuQuantity, type Environment } from './values.ts';

/**
 * Number of data threads (ambient contract 2.2, last paragraph).
 *
 * @param concurrency ProxyConfig `concurrency`, when set.
 * @param cores logical cores of this machine.
 */
export function workerThreads(
  environment: Environment,
  concurrency: number | undefined,
  cores: number,
): number {
  const resourceLimit = quantity(environment, 'ZTUNNEL_RESOURCE_CPU_LIMIT');
  const request = quantity(environment, 'ZTUNNEL_RESOURCE_CPU_REQUEST') ?? 0;
  const cpus = resourceLimit ?? quantity(environment, 'ZTUNNEL_CPU_LIMIT') ?? cores;

  const override = environment['ZTUNNEL_WORKER_THREADS'];
  if (override !== undefined) return parseOverride(override, cpus, cores);
  if (concurrency !== undefined) return concurrency > 0 ? concurrency : cores;
  if (resourceLimit !== undefined) return Math.max(resourceLimit, request);
  return Math.max(Math.ceil(cpus * 0.25), request, 2);
}

function quantity(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  return text === undefined ? undefined : cpuQuantity(name, text);
}

function parseOverride(text: string, cpus: number, cores: number): number {
  const allowed = 'a number of threads, 0 for all cores, or a percentage from 1% to 100% is allowed';
  const match = /^(\d+)(%?)$/.exec(text);
  if (match === null) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
  const amount = Number(match[1]);
  if (match[2] === '%') {
    if (amount < 1 || amount > 100) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
    return Math.max(1, Math.ceil((cpus * amount) / 100));
  }
  return amount === 0 ? cores : amount;
}
