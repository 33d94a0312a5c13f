import { configError, cpuQuantity, type Environment } from './values.ts';

/** More data threads than this only cost memory; the machines that Kubernetes runs on have fewer CPUs. */
const mostThreads = 1_024;

/**
 * Number of data threads, from 1 to 1024 (ambient contract 2.2, last paragraph).
 *
 * @param concurrency ProxyConfig `concurrency`, when set.
 * @param cores logical cores of this machine.
 */
export function workerThreads(
  environment: Environment,
  concurrency: number | undefined,
  cores: number,
): number {
  return Math.min(mostThreads, Math.max(1, wantedThreads(environment, concurrency, cores)));
}

function wantedThreads(environment: Environment, concurrency: number | undefined, cores: number): number {
  const resourceLimit = quantity(environment, 'ZTUNNEL_RESOURCE_CPU_LIMIT');
  if (resourceLimit === 0) {
    const text = environment['ZTUNNEL_RESOURCE_CPU_LIMIT'] ?? '';
    throw configError('ZTUNNEL_RESOURCE_CPU_LIMIT', text, 'more than 0 CPUs, or leave it unset for no limit');
  }
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
  const allowed = `a number of threads up to ${mostThreads}, 0 for all cores, or a percentage above 0% up to 100% is allowed`;
  const match = /^\+?(?:(\d+)|(\d+\.?\d*|\.\d+)%)$/.exec(text);
  if (match === null) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
  const [, count, percentage] = match;
  if (percentage !== undefined) {
    const amount = Number(percentage);
    if (amount <= 0 || amount > 100) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
    return Math.ceil((cpus * amount) / 100);
  }
  const amount = Number(count);
  if (amount > mostThreads) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
  return amount === 0 ? cores : amount;
}
