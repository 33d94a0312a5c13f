import type { PodContext } from './pod-context.ts';

/** Names of resources that were requested for one connection. */
export type Asked = ReadonlySet<string>;

/** Before the first decision. */
export const NOTHING_ASKED: Asked = new Set();

/** Collects the names of resources that a decision lacks; absent if the mesh is complete, which costs nothing. */
export const missingOf = ({ demand }: PodContext): Set<string> | undefined =>
  demand === undefined ? undefined : new Set();

/** The option of a decision that reports what it lacks. */
export const reportTo = (missing: Set<string> | undefined): { missing?: (name: string) => void } =>
  missing === undefined ? {} : { missing: (name) => missing.add(name) };

/**
 * Requests what a decision lacked, unless that was requested for this connection before. Then calls `again`, or `refuse`
 * with the reason if there was no answer.
 *
 * @returns whether something was requested: the decision does not hold
 */
export function asksFirst(
  { demand }: PodContext,
  missing: Set<string> | undefined,
  asked: Asked,
  { again, refuse }: { readonly again: (asked: Asked) => void; readonly refuse: (reason: string) => void },
): boolean {
  if (demand === undefined || missing === undefined || missing.size === 0) return false;
  const names = [...missing.difference(asked)];
  if (names.length === 0) return false;
  demand(names).then(
    () => again(asked.union(missing)),
    (error: Error) => refuse(error.message),
  );
  return true;
}
