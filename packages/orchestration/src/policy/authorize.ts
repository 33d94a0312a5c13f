import type { Identity, Policy, Workload } from '@kmesh/api';
import { parseIp } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { formatPrincipal } from './identity.ts';
import { compilePolicy, type PolicySubject, policyMatches } from './match.ts';

/** Inputs of policies: the authenticated identity, the TCP peer, and the resolved upstream (docs/contract.md 6.6). */
export interface AuthorizationConnection {
  /** From the client's certificate; `undefined` for plaintext. */
  readonly identity: Identity | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  /** Target port. */
  readonly destinationPort: number;
}

/** An observation to log beside the decision (docs/contract.md 8.1, 8.2). */
interface AuthorizationNote {
  readonly kind:
    | 'dryRunDenyMatched'
    | 'dryRunAllowMatched'
    /** Dry-run ALLOW policies exist, none matched and none is enforced: enforcing them would deny. */
    | 'dryRunAllowNoneMatched'
    /** The workload lists a policy that has not arrived. */
    | 'unknownPolicy'
    /** The policy has a condition unknown to this version; log it once per policy. */
    | 'unknownField';
  /** `namespace/name`; empty for `dryRunAllowNoneMatched`. */
  readonly policy: string;
}

/** Reason of a decision. */
type AuthorizationReason = 'noAllowPolicies' | 'allowMatched' | 'denyMatched' | 'noAllowMatched';

/** The decision about one connection. */
export interface Authorization {
  readonly allowed: boolean;
  readonly reason: AuthorizationReason;
  /** `namespace/name` of the deciding policy; `undefined` when no single policy decided. */
  readonly policy: string | undefined;
  readonly notes: readonly AuthorizationNote[];
}

const NO_NOTES: readonly AuthorizationNote[] = [];

/**
 * Authorizes an inbound connection to `workload` as docs/contract.md 8 requires, DENY policies first.
 *
 * The contract leaves two cases open. A CIDR or string matcher that cannot be parsed rejects the whole resource
 * before it enters the mesh state, so dropping it cannot widen a policy (conformance RBC-27). A match with an unknown
 * field does not match in an ALLOW policy; in a DENY policy it matches as if that field did. Both add an
 * `unknownField` note (conformance RBC-29).
 */
export function authorize(
  view: Pick<MeshView, 'policy' | 'policiesOfNamespace'>,
  connection: AuthorizationConnection,
  workload: Pick<Workload, 'namespace' | 'authorizationPolicies'>,
): Authorization {
  const notes: AuthorizationNote[] = [];
  const candidates = candidatePolicies(view, workload, notes);
  if (candidates.length === 0) return outcome('noAllowPolicies', undefined, notes);
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
  if (denied !== undefined) return outcome('denyMatched', denied, notes);

  if (dryRunAllow) {
    const matched = noteDryRunAllows(candidates, subject, notes);
    if (!matched && !enforcedAllow) notes.push({ kind: 'dryRunAllowNoneMatched', policy: '' });
  }
  if (!enforcedAllow) return outcome('noAllowPolicies', undefined, notes);
  for (const policy of candidates) {
    if (policy.action !== 'Allow' || policy.dryRun) continue;
    if (matchesPolicy(policy, subject, notes)) {
      return outcome('allowMatched', compilePolicy(policy).key, notes);
    }
  }
  return outcome('noAllowMatched', undefined, notes);
}

/** Describes a decision in one sentence, for the access log and `kmeshctl why`. */
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

/**
 * Returns the policies that apply to a workload, in the order of docs/contract.md 8.1. Adds unknown names of its list
 * to `notes`.
 */
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
    // A policy of another scope is in the lists above if it applies.
    else if (!candidates.includes(policy)) candidates.push(policy);
  }
  return candidates;
}

/** Adds a note for each dry-run ALLOW policy that matches. Returns whether one did. */
function noteDryRunAllows(
  candidates: readonly Policy[],
  subject: PolicySubject,
  notes: AuthorizationNote[],
): boolean {
  let matched = false;
  for (const policy of candidates) {
    if (policy.action !== 'Allow' || !policy.dryRun || !matchesPolicy(policy, subject, notes)) continue;
    matched = true;
    notes.push({ kind: 'dryRunAllowMatched', policy: compilePolicy(policy).key });
  }
  return matched;
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
  reason: AuthorizationReason,
  policy: string | undefined,
  notes: readonly AuthorizationNote[],
): Authorization {
  const allowed = reason === 'noAllowPolicies' || reason === 'allowMatched';
  return { allowed, reason, policy, notes: notes.length === 0 ? NO_NOTES : notes };
}
