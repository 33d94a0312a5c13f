import { ipBatch } from '../network/commands.ts';
import type { Host } from '../pods/host.ts';
import { iptablesRemoval, iptablesRules } from './iptables-rules.ts';
import { nftablesRemoval, nftablesRules } from './nftables-rules.ts';
import {
  PROBE_SOURCE,
  type RedirectOptions,
  ROUTE_TABLE,
  RULE_PREFERENCE,
  TRANSPARENT_MARK,
} from './rule-options.ts';

const POLICY_ROUTES = [
  ['0.0.0.0/0', 'inet'],
  ['::/0', 'inet6'],
] as const;

/** Captures a pod's traffic as istio-cni does: redirect rules and policy routing in its namespace, both families. */
export async function installRedirect(pod: Host, options: RedirectOptions = {}): Promise<void> {
  if (options.variant === 'nftables') {
    await pod.run('nft', ['-f', '-'], { input: nftablesRules(options) });
  } else {
    await pod.run('iptables-restore', ['--noflush'], { input: iptablesRules('v4', options) });
    await pod.run('ip6tables-restore', ['--noflush'], { input: iptablesRules('v6', options) });
  }
  await ipBatch(
    pod.namespace,
    POLICY_ROUTES.map(([all]) => `route add local ${all} dev lo table ${ROUTE_TABLE}`),
  );
  for (const [, family] of POLICY_ROUTES) await policyRule(pod, family, 'add');
}

/** Undoes {@link installRedirect}; the options must be the same. */
export async function removeRedirect(pod: Host, options: RedirectOptions = {}): Promise<void> {
  if (options.variant === 'nftables') {
    await pod.run('nft', ['-f', '-'], { input: nftablesRemoval(options) });
  } else {
    await pod.run('iptables-restore', ['--noflush'], { input: iptablesRemoval(options) });
    await pod.run('ip6tables-restore', ['--noflush'], { input: iptablesRemoval(options) });
  }
  await ipBatch(
    pod.namespace,
    POLICY_ROUTES.map(([all]) => `route del local ${all} dev lo table ${ROUTE_TABLE}`),
  );
  for (const [, family] of POLICY_ROUTES) await policyRule(pod, family, 'del');
}

/**
 * The node's part: TCP connections from the node's processes of user `uid` (the kubelet's) to a pod in `pods` get the
 * probe address as source, which no rule captures. Replaces the rules of an earlier call. Contract 11.4.
 */
export async function installProbeSource(node: Host, pods: readonly Host[], uid = 0): Promise<void> {
  const set = (name: string, type: string, ips: readonly string[]) =>
    `  set ${name} { type ${type}; ${ips.length === 0 ? '' : `elements = { ${ips.join(', ')} }; `}}\n`;
  const rules = `add table inet istio-ambient-nat
flush table inet istio-ambient-nat
delete table inet istio-ambient-nat
table inet istio-ambient-nat {
${set(
  'istio-inpod-probes-v4',
  'ipv4_addr',
  pods.map((pod) => pod.addresses.v4),
)}${set(
  'istio-inpod-probes-v6',
  'ipv6_addr',
  pods.map((pod) => pod.addresses.v6),
)}  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    meta l4proto tcp meta skuid ${uid} ip daddr @istio-inpod-probes-v4 counter snat ip to ${PROBE_SOURCE.v4}
    meta l4proto tcp meta skuid ${uid} ip6 daddr @istio-inpod-probes-v6 counter snat ip6 to ${PROBE_SOURCE.v6}
  }
}
`;
  await node.run('nft', ['-f', '-'], { input: rules });
}

async function policyRule(pod: Host, family: string, action: 'add' | 'del'): Promise<void> {
  const rule = ['rule', action, 'fwmark', TRANSPARENT_MARK, 'lookup', `${ROUTE_TABLE}`];
  await pod.run('ip', ['-f', family, ...rule, 'pref', `${RULE_PREFERENCE}`]);
}
