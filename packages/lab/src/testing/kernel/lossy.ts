import { eventually } from '@kmesh/api/testing';
import type { Host } from '../../pods/host.ts';

/** Packets that match are dropped as they reach a host, before capture sees them; until {@link loseNothing}. */
export async function lose(host: Host, match: string): Promise<void> {
  const chain = `type filter hook prerouting priority raw; iifname "eth0" ${match} counter name lost drop;`;
  await host.run('nft', ['-f', '-'], {
    input: `table inet lossy { counter lost { }; chain arriving { ${chain} }; }`,
  });
}

/** Waits until so many packets were dropped since {@link lose}. */
export async function untilLost(host: Host, packets: number): Promise<void> {
  await eventually(`${packets} packets are lost`, async () => {
    const { stdout } = await host.run('nft', ['list', 'counter', 'inet', 'lossy', 'lost']);
    return Number(/packets (\d+)/.exec(stdout)?.[1]) >= packets;
  });
}

export async function loseNothing(host: Host): Promise<void> {
  await host.run('nft', ['delete', 'table', 'inet', 'lossy']);
}

/** Two TCP segments of a hundred, at random. */
export const someSegments = 'meta l4proto tcp numgen random mod 100 < 2';
