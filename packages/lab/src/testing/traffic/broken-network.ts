import { eventually } from '@kmesh/api/testing';
import type { Host } from '../../pods/host.ts';

/** Drops matching packets as they reach a host, before capture, until {@link loseNothing}. */
export async function lose(host: Host, match: string): Promise<void> {
  const chain = `type filter hook prerouting priority raw; iifname "eth0" ${match} counter name lost drop;`;
  await host.run('nft', ['-f', '-'], {
    input: `table inet lossy { counter lost { }; chain arriving { ${chain} }; }`,
  });
}

/** Waits until `packets` packets were dropped since {@link lose}. */
export async function untilLost(host: Host, packets: number): Promise<void> {
  await eventually(`${packets} packets are dropped`, async () => {
    const { stdout } = await host.run('nft', ['list', 'counter', 'inet', 'lossy', 'lost']);
    return Number(/packets (\d+)/.exec(stdout)?.[1]) >= packets;
  });
}

export async function loseNothing(host: Host): Promise<void> {
  await host.run('nft', ['delete', 'table', 'inet', 'lossy']);
}

/** Two TCP segments of a hundred, at random. */
export const someSegments = 'meta l4proto tcp numgen random mod 100 < 2';

/**
 * Makes a node answer packets to services without a backend immediately, as kube-proxy does for services without
 * endpoints: with a reset or an ICMP message.
 */
export async function answerUnusedAddresses(node: Host, answer: 'reset' | 'unreachable'): Promise<void> {
  const replies = {
    reset: ['tcp reset', 'tcp reset'],
    unreachable: ['icmp net-unreachable', 'icmpv6 no-route'],
  }[answer];
  // Without a route a packet does not reach the rules.
  await node.run('ip', ['route', 'add', '10.96.0.0/16', 'dev', 'eth0']);
  await node.run('ip', ['-6', 'route', 'add', 'fd00:96::/64', 'dev', 'eth0']);
  const limits = [
    'net.ipv4.icmp_ratelimit=0',
    'net.ipv4.icmp_msgs_per_sec=100000',
    'net.ipv6.icmp.ratelimit=0',
  ];
  await node.run('sysctl', ['-qw', ...limits]);
  const rules = [`ip daddr 10.96.0.0/16`, `ip6 daddr fd00:96::/64`].map(
    (to, at) => `meta l4proto tcp ${to} reject with ${replies[at]}`,
  );
  const chain = `chain forward { type filter hook forward priority 0;\n${rules.join('\n')}\n}`;
  await node.run('nft', ['-f', '-'], { input: `table inet nobody {\n${chain}\n}\n` });
}
