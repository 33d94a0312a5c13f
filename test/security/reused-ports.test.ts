import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { tagPackets } from '@kmesh/lab/testing/traffic/packet-tags.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';

const evade = () => buildNative('evade', new URL('native/', import.meta.url));

/** A connection that stays open until a policy denies it. */
const LIVE = 8080;
/** Its application resets what it has accepted. */
const RESETTING = 8081;

const denial = policy(
  'Deny',
  { principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-attacker' }] },
  { name: 'late' },
);

/** Waits until the pod's connection tracking has no entry of a port. */
async function untilForgotten(pod: Pod, sourcePort: number): Promise<void> {
  const isThere = async () =>
    (await pod.run('cat', ['/proc/net/nf_conntrack'])).stdout.includes(`sport=${sourcePort} `);
  await eventually(`${pod.name} forgets port ${sourcePort}`, async () => !(await isThere()));
}

/*
 * A connection that its server resets stays in the pods' connection tracking for ten seconds, with its translation. A
 * new connection from the same port to the same address matches that entry.
 */
for (const handoff of ['true', 'false'] as const) {
  describe(`a port that is reused after a reset, with KMESH_HANDOFF=${handoff}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let attacker: Pod;
    let neighbour: Pod;
    const servers: Pod[] = [];
    const accepted = new Map<string, number>();
    let sourcePort = 20_000;

    before(async () => {
      lab = await createLab();
      await lab.node();
      mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_HANDOFF: handoff } });
      ({ pod: attacker } = await mesh.pod({ name: 'attacker' }));
      ({ pod: neighbour } = await mesh.pod({ name: 'neighbour', captured: false }));
      for (const variant of ['iptables', 'nftables'] as const) {
        const { pod } = await mesh.pod({ name: variant, captured: { variant } });
        for (const port of [LIVE, RESETTING]) {
          await pod.listen({ port }, (socket) => {
            accepted.set(pod.name, (accepted.get(pod.name) ?? 0) + 1);
            socket.on('error', () => undefined);
            socket.write(`port-${port}`);
            if (port === RESETTING) socket.once('data', () => socket.resetAndDestroy());
          });
        }
        servers.push(pod);
      }
      await untilEnrolled(mesh, [attacker, ...servers]);
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    for (const [who, change] of [
      ['attacker', denial],
      ['neighbour', strict],
    ] as const) {
      for (const port of [LIVE, RESETTING]) {
        const what = `${port === LIVE ? 'a policy' : 'the application'} resets it, and a policy forbids the next one`;
        test(`${who}: ${what}`, () => dialTwice(who === 'attacker' ? attacker : neighbour, port, change));
      }
    }
    test('a policy resets the connection and denies the next one, which the other pod sees as a new one', () =>
      dialTwice(attacker, LIVE, denial, { forgotten: true }));
    test('neighbour: a policy resets it, and forbids the next one, whose packets have two VLAN tags', () =>
      dialTwice(neighbour, LIVE, strict, { tagged: true }));

    /**
     * Dials each server from one port before and after a change. `forgotten`: the servers' pods no longer track the
     * first connection. `tagged`: from the change on, all packets of the client have two VLAN tags.
     */
    async function dialTwice(
      from: Pod,
      port: number,
      change: typeof denial,
      { forgotten = false, tagged = false } = {},
    ): Promise<void> {
      const texts = new Map<string, string>();
      const before = new Map(accepted);
      const ports = servers.map(() => ++sourcePort);
      const dialling = servers.map(async (server, at) => {
        const closed = `net.netfilter.nf_conntrack_tcp_timeout_close=${forgotten ? 1 : 10}`;
        await server.run('sysctl', ['-q', '-w', closed]);
        const source = `bind=${from.addresses.v4}:${ports[at]}`;
        const to = [source, `connect=${server.addresses.v4}:${port}`, 'send'];
        const first = ['patience=2000', ...to, ...(port === RESETTING ? ['end'] : []), 'wait', 'end'];
        const child = from.spawn(evade(), [...first, 'again', 'patience=700', 'wait', ...to]);
        child.stdout?.on('data', (data) => texts.set(server.name, `${texts.get(server.name) ?? ''}${data}`));
        const { stderr, stdin } = child;
        assert.ok(stderr && stdin);
        await once(stderr, 'data');
        return { stderr, stdin, ended: once(child, 'close') };
      });
      const children = await Promise.all(dialling);
      for (const { name } of servers) assert.equal(accepted.get(name), (before.get(name) ?? 0) + 1, name);
      const [seenAt] = servers;
      using tags = tagged && seenAt !== undefined ? await tagPackets(from, seenAt, 2) : undefined;
      await mesh.apply(change);
      await untilTablesFollow(mesh);
      await Promise.all(
        children.map(async ({ stderr, stdin }) => {
          const again = once(stderr, 'data');
          stdin.write('\n');
          await again;
        }),
      );
      if (forgotten) await Promise.all(servers.map((server, at) => untilForgotten(server, ports[at] ?? 0)));
      for (const { stdin } of children) stdin.end('\n');
      await Promise.all(children.map(({ ended }) => ended));
      for (const { name } of servers) {
        assert.doesNotMatch(texts.get(name) ?? '', /port-/, name);
        assert.equal(accepted.get(name), (before.get(name) ?? 0) + 1, name);
      }
      if (tags !== undefined) assert.ok(tags.seen() > 0, 'tagged packets arrived');
      await mesh.apply(without(change));
      await untilTablesFollow(mesh);
    }
  });
}
