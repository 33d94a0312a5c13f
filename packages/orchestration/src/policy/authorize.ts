import type { Identity, Policy, Workload } from '@kmesh/api';
import { parseIp } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { compilePolicy } from './compiled-policy.ts';
import { formatPrincipal } from './identity.ts';
import { type PolicySubject, policyMatches } from './match.ts';

/** What policies may look at: the proven identity, the TCP peer, and the upstream that was found (contract 6.6). */
export interface AuthorizationConnection {
  /** From the client's certificate; `undefined` for plaintext. */
  readonly identity: Identity | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  /** Target port. */
  readonly destinationPort: number;
}

/** Something to log beside the decision (contract 8.1, 8.2, design §6). */
interface AuthorizationNote {
  readonly kind:
    | 'dryRunDenyMatched'
    | 'dryRunAllowMatched'
    /** Dry-run ALLOW policies exist, none matched, and no enforced one exists: it would be denied. */
    | 'dryRunAllowNoneMatched'
    /** The workload lists a policy that is not known (yet). */
    | 'unknownPolicy'
    /** The policy has a condition that this version does not understand; log it once per policy. */
    | 'unknownField';
  /** `namespace/name`; empty for `dryRunAllowNoneMatched`. */
  readonly policy: string;
}

/** Why a connection is allowed or denied. */
type AuthorizationReason = 'noAllowPolicies' | 'allowMatched' | 'denyMatched' | 'noAllowMatched';

/** The decision about one connection. */
export interface Authorization {
  readonly allowed: boolean;
  readonly reason: AuthorizationReason;
  /** `namespace/name` of the policy that decided; `undefined` when none did by itself. */
  readonly policy: string | undefined;
  readonly notes: readonly AuthorizationNote[];
}

const NO_NOTES: readonly AuthorizationNote[] = [];

/**
 * Decides about an inbound connection to `workload`: every edge of ambient contract 8, denials first.
 *
 * Two decisions the contract leaves open. A CIDR or string matcher that cannot be read makes the whole resource
 * invalid where policies enter the mesh state, so dropping it cannot widen a policy (conformance RBC-27). A match
 * with a field that this version does not know does not match in an ALLOW policy, and in a DENY policy matches as
 * if that field did; both come with an `unknownField` note (design §6, conformance RBC-29).
 */
export function authorize(
  view: Pick<MeshView, 'policy' | 'policiesOfNamespace'>,
  connection: AuthorizationConnection,
  workload: Pick<Workload, 'namespace' | 'authorizationPolicies'>,
): Authorization {
  const notes: AuthorizationNote[] = [];
  const candidates = candidatePolicies(view, workload, notes);
  if (candidates.length === 0) return outcome(true, 'noAllowPolicies', undefined, notes);
  const subject = subjectOf(connection);

  let denied: string | undefined;
  let enforcedAllow = false;
  let dryRunAllow = false;
  for (const policy of candidates) {
    if (policy.action === 'Allow') {
      if (policy.dryRun) dryRunAllow = true;
      else enforcedAllow = true;
      continue;
    }
    if (denied !== undefined && !policy.dryRun) continue;
    if (!matchesPolicy(policy, subject, notes)) continue;
    if (policy.dryRun) notes.push({ kind: 'dryRunDenyMatched', policy: compilePolicy(policy).key });
    else denied = compilePolicy(policy).key;
  }
  if (denied !== undefined) return outcome(false, 'denyMatched', denied, notes);

  if (dryRunAllow) noteDryRunAllows(candidates, subject, enforcedAllow, notes);
  if (!enforcedAllow) return outcome(true, 'noAllowPolicies', undefined, notes);
  for (const policy of candidates) {
    if (policy.action !== 'Allow' || policy.dryRun) continue;
    if (matchesPolicy(policy, subject, notes)) {
      return outcome(true, 'allowMatched', compilePolicy(policy).key, notes);
    }
  }
  return outcome(false, 'noAllowMatched', undefined, notes);
}

/** One sentence for the access log and the answer to "why". */
export function describeAuthorization(authorization: Authorization): string {
  switch (authorization.reason) {
    case 'noAllowPolicies':
      return 'allowed: no ALLOW policy applies and no DENY policy matched';
    case 'allowMatched':
      return `allowed by policy ${authorization.policy}`;
    case 'denyMatched':
      return `denied by policy ${authorization.policy}`;
    case 'noAllowMatched':
      return 'not allowed: ALLOW policies apply to the workload and none matched';
  }
}

/** Policies that apply to a workload, in the order of contract 8.1; unknown names in its list are noted. */
export function candidatePolicies(
  view: Pick<MeshView, 'policy' | 'policiesOfNamespace'>,
  workload: Pick<Workload, 'namespace' | 'authorizationPolicies'>,
  notes?: AuthorizationNote[],
): readonly Policy[] {
  const ofNamespace = workload.namespace === '' ? [] : view.policiesOfNamespace(workload.namespace);
  const global = view.policiesOfNamespace('');
  if (workload.authorizationPolicies.length === 0) {
    if (global.length === 0) return ofNamespace;
    if (ofNamespace.length === 0) return global;
  }
  const candidates = [...ofNamespace, ...global];
  for (const key of workload.authorizationPolicies) {
    const policy = view.policy(key);
    if (policy === undefined) notes?.push({ kind: 'unknownPolicy', policy: key });
    // One that is not a selector policy is in the lists above when it applies here.
    else if (!candidates.includes(policy)) candidates.push(policy);
  }
  return candidates;
}

function noteDryRunAllows(
  candidates: readonly Policy[],
  subject: PolicySubject,
  enforcedAllow: boolean,
  notes: AuthorizationNote[],
): void {
  let matched = false;
  for (const policy of candidates) {
    if (policy.action !== 'Allow' || !policy.dryRun || !matchesPolicy(policy, subject, notes)) continue;
    matched = true;
    notes.push({ kind: 'dryRunAllowMatched', policy: compilePolicy(policy).key });
  }
  if (!matched && !enforcedAllow) notes.push({ kind: 'dryRunAllowNoneMatched', policy: '' });
}

function matchesPolicy(policy: Policy, subject: PolicySubject, notes: AuthorizationNote[]): boolean {
  const compiled = compilePolicy(policy);
  if (compiled.hasUnknownField) notes.push({ kind: 'unknownField', policy: compiled.key });
  return policyMatches(compiled, subject, policy.action === 'Deny');
}

function subjectOf(connection: AuthorizationConnection): PolicySubject {
  const { identity } = connection;
  return {
    identity,
    principal: identity === undefined ? undefined : formatPrincipal(identity),
    source: parseIp(connection.sourceIp),
    destination: parseIp(connection.destinationIp),
    destinationPort: connection.destinationPort,
  };
}

function outcome(
  allowed: boolean,
  reason: AuthorizationReason,
  policy: string | undefined,
  notes: readonly AuthorizationNote[],
): Authorization {
  return { allowed, reason, policy, notes: notes.length === 0 ? NO_NOTES : notes };
}
