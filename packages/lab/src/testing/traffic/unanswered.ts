import type { Host } from '../../pods/host.ts';

/**
 * Makes a node answer for addresses of services that nobody has, as kube-proxy does for services without endpoints: at
 * once and each time, with a reset or with an ICMP message.
 */
export async function answerForNobody(node: Host, answer: 'reset' | 'unreachable'): Promise<void> {
  const replies = {
    reset: ['tcp reset', 'tcp reset'],
    unreachable: ['icmp net-unreachable', 'icmpv6 no-route'],
  }[answer];
  // Without a route a packet does not get as far as the rules.
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
