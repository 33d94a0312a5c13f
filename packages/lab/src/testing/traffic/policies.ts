import type { MeshUpdate, Policy, PolicyMatch } from '@kmesh/api';

/** A policy of the namespace `default` with one match; further fields may be given. */
export function policy(
  action: Policy['action'],
  match: PolicyMatch,
  fields: Partial<Policy> = {},
): { readonly kind: 'policy'; readonly policy: Policy } {
  const rules = [[[match]]];
  return {
    kind: 'policy',
    policy: {
      name: 'test',
      namespace: 'default',
      scope: 'Namespace',
      action,
      rules,
      dryRun: false,
      ...fields,
    },
  };
}

/** Returns the update that removes a policy. */
export function without(added: ReturnType<typeof policy>): MeshUpdate {
  return { kind: 'removePolicy', key: `${added.policy.namespace}/${added.policy.name}` };
}

/** Mutual TLS for the whole mesh, as istiod turns a STRICT PeerAuthentication into a policy. */
export const strict = policy(
  'Deny',
  { notPrincipals: [{ kind: 'Presence' }] },
  { name: 'istio_converted_static_strict', namespace: '', scope: 'Global' },
);
