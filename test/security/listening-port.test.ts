/**
 * A pod dials from a port on which it also listens. When its peer resets that connection, conntrack keeps it for ten
 * seconds; a first packet in the other direction is then invalid to it, and rules that translate addresses never see it.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict } from '@kmesh/lab/testing/traffic/policies.ts';

const evade = () => buildNative('evade', new URL('native/', import.meta.url));

const denial = policy('Deny', {
  principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-attacker' }],
});

/** Counts first packets on the node's bridge from one port to another. */
const firstPackets = (from: number, to: number) => `table bridge seen {
  counter first {
  }
  chain forward {
    type filter hook forward priority 0
    tcp sport ${from} tcp dport ${to} tcp flags & (syn | ack) == syn counter name first
  }
}
`;

/** Waits until the pod's connection tracking has no entry of a port. */
async function untilForgotten(pod: Pod, sourcePort: number): Promise<void> {
  const isThere = async () =>
    (await pod.run('cat', ['/proc/net/nf_conntrack'])).stdout.includes(`sport=${sourcePort} `);
  await eventually(`${pod.name} forgets port ${sourcePort}`, async () => !(await isThere()));
}

describe('a pod that dials from a port on which it listens', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let attacker: Pod;
  let neighbour: Pod;
  const victims: Pod[] = [];
  let accepted = 0;
  let port = 4_000;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_HANDOFF: 'false' } });
    ({ pod: attacker } = await mesh.pod({ name: 'attacker' }));
    ({ pod: neighbour } = await mesh.pod({ name: 'neighbour', captured: false }));
    for (const variant of ['iptables', 'nftables'] as const)
      victims.push((await mesh.pod({ name: variant, captured: { variant } })).pod);
    await mesh.apply(strict, denial);
    await untilEnrolled(mesh, [attacker, ...victims]);
    await untilTablesFollow(mesh);
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  /** The victim dials the peer, which resets it. Returns the victim's port, on which it listens now. */
  async function dialAndListen(victim: Pod, peer: Pod, peerPort: number): Promise<number> {
    const own = ++port;
    const { promise, resolve } = Promise.withResolvers<Socket>();
    const listening = await peer.listen({ port: peerPort }, resolve);
    const bound = `bind=${victim.addresses.v4}:${own}`;
    const child = victim.spawn(evade(), [bound, `connect=${peer.addresses.v4}:${peerPort}`, 'send', 'end']);
    const ended = once(child, 'close');
    const socket = await promise;
    await victim.listen({ port: own }, (one) => {
      accepted++;
      one.on('error', () => undefined);
      one.write('port-');
    });
    socket.resetAndDestroy();
    await ended;
    listening.close();
    await eventually('the connection is closed to conntrack', async () =>
      (await victim.run('cat', ['/proc/net/nf_conntrack'])).stdout
        .split('\n')
        .some((line) => line.includes(`CLOSE src=${victim.addresses.v4}`) && line.includes(`sport=${own} `)),
    );
    return own;
  }

  for (const [who, what, from, steps] of [
    ['a neighbour', 'under STRICT', 4_001, []],
    ['a neighbour', 'under STRICT, with a port of the proxy', 15_008, []],
    ['a pod of the mesh', 'that a policy denies', 4_002, []],
    ['a pod of the mesh', 'that a policy denies, with the mark of the proxy', 4_003, ['mark=0x539']],
  ] as const) {
    test(`is not reached on it by ${who} ${what}`, async () => {
      const peer = who === 'a neighbour' ? neighbour : attacker;
      const forgets = `net.netfilter.nf_conntrack_tcp_timeout_close=${steps.length > 0 ? 1 : 10}`;
      await peer.run('sysctl', ['-q', '-w', forgets]);
      for (const victim of victims) {
        const own = await dialAndListen(victim, peer, from);
        const there = `${victim.addresses.v4}:${own}`;
        await mesh.node().node.run('nft', ['-f', '-'], { input: firstPackets(from, own) });
        // Its own connection tracking holds it back as well, unless it forgets earlier than the victim's.
        if (steps.length > 0) await untilForgotten(peer, own);
        const before = accepted;
        const dial = ['patience=700', ...steps, `bind=${peer.addresses.v4}:${from}`, `connect=${there}`];
        const { stdout } = await peer.run(evade(), [...dial, 'send']);
        assert.doesNotMatch(stdout, /port-/, victim.name);
        assert.equal(accepted, before, victim.name);
        const seen = await mesh.node().node.run('nft', ['list', 'counter', 'bridge', 'seen', 'first']);
        const left = Number(/packets (\d+)/.exec(seen.stdout)?.[1]);
        await mesh.node().node.run('nft', ['delete', 'table', 'bridge', 'seen']);
        // One without the proxy's mark does not even leave its own pod.
        if (peer === attacker && steps.length === 0) assert.equal(left, 0, `${victim.name}: it left its pod`);
        else assert.ok(left > 0, 'it was sent');
        const local = await victim.run(evade(), ['patience=3000', `connect=${there}`, 'send']);
        assert.match(local.stdout, /port-/, 'it listens');
      }
    });
  }
});
