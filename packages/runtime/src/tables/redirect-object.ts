import { randomBytes } from 'node:crypto';
import { type BpfObject, capability, type Link } from '@kmesh/linux';
import { kmeshRedirectCount } from './gen/layouts.ts';
import { readPerCpuCounters } from './per-cpu-counters.ts';

/**
 * Why bytes cannot be redirected from socket to socket on this kernel; empty when they can.
 *
 * @param object - the loaded programs: the verifier may have refused some
 */
export function redirectObstacles(object?: Pick<BpfObject, 'programNames'>): string[] {
  const missing = (['sk-msg', 'receive-tracepoint'] as const)
    .map((name) => capability(name))
    .filter(({ available }) => !available)
    .map(
      ({ description, requiredKernel, reason }) =>
        `${description} (Linux ${requiredKernel} has it): ${reason}`,
    );
  if (missing.length > 0 || object === undefined) return missing;
  return ['kmesh_redirect', 'kmesh_received']
    .filter((name) => !object.programNames.includes(name))
    .map((name) => `the verifier refused ${name}`);
}

/** Before load: leaves out what this kernel cannot load, and draws the seed of the exchange slots. */
export function prepareRedirect(object: BpfObject): void {
  object.setConstant('kmesh_exchange_seed', new Uint8Array(randomBytes(8)));
  if (!capability('receive-tracepoint').available) object.setAutoload('kmesh_received', false);
  if (!capability('sk-msg').available) object.setAutoload('kmesh_redirect', false);
}

/**
 * Attaches the redirect programs. They do nothing until `KernelTables.setRedirect`. To be attached before sockops, since
 * sockets that join earlier are not redirected.
 *
 * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
 */
export function attachRedirect(object: BpfObject): Map<string, Link> {
  const links = new Map<string, Link>();
  for (const [name, attach] of redirectAttachments(object)) links.set(name, attach());
  return links;
}

/** The redirect programs with what attaches each. */
export function redirectAttachments(object: BpfObject): [name: string, attach: () => Link][] {
  return [
    ['kmesh_received', () => object.program('kmesh_received').attachTracepoint()],
    ['kmesh_redirect', () => object.program('kmesh_redirect').attachSockMap(object.map('peers'))],
  ];
}

/** What redirect did so far, over all CPUs. */
export type RedirectCounts = Record<keyof typeof kmeshRedirectCount, number>;

/** Reads `redirect_counts`. */
export function readRedirectCounts(object: Pick<BpfObject, 'map'>): RedirectCounts {
  const counts = readPerCpuCounters(object.map('redirect_counts'), kmeshRedirectCount);
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [name, Number(count)]),
  ) as RedirectCounts;
}
