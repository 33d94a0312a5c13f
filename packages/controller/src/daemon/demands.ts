import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError } from '@kmesh/api';
import type { XdsClient } from '../xds/client.ts';

interface DemandOptions {
  /** Longest wait for an answer; 5 s. */
  readonly limitMilliseconds?: number;
  /** Time after an answer during which a name is not requested again; 1 s. */
  readonly keptMilliseconds?: number;
}

const maximumKept = 10_000;

/**
 * Returns a function that requests resources of the control plane in on-demand mode (docs/contract.md 3.3) and resolves
 * when each has arrived or does not exist. A name that was just answered is not requested again, so that connections to
 * one address outside the mesh do not cost the control plane a request each.
 *
 * The function's promise rejects with `KMESH_DEMAND_UNANSWERED` after the limit.
 */
export function demandsOf(
  client: Pick<XdsClient, 'demand'>,
  { limitMilliseconds = 5_000, keptMilliseconds = 1_000 }: DemandOptions = {},
): (names: readonly string[]) => Promise<void> {
  const answered = new Map<string, number>();
  const demand = async (name: string, signal: AbortSignal): Promise<void> => {
    if ((answered.get(name) ?? 0) > performance.now()) return;
    await client.demand(name, signal);
    if (answered.size >= maximumKept) answered.clear();
    answered.set(name, performance.now() + keptMilliseconds);
  };
  return async (names) => {
    const over = new AbortController();
    const limit = delay(limitMilliseconds, undefined, { signal: over.signal }).then(() => {
      throw new KmeshError(
        'KMESH_DEMAND_UNANSWERED',
        `The control plane did not answer within ${limitMilliseconds} ms whether ${names.join(', ')} is in the mesh; ` +
          'check that the xDS connection is up.',
      );
    });
    limit.catch(() => undefined);
    try {
      await Promise.race([Promise.all(names.map((name) => demand(name, over.signal))), limit]);
    } finally {
      over.abort();
    }
  };
}
