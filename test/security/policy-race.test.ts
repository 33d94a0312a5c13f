import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createLab, endpointText, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';

/** Minimum number of connections that are dialled while policies change, on each path. */
const LEAST = repetitions({ ci: 200, full: 100_000 });

const random = (below: number): number => Math.floor(Math.random() * below);

const principal = (name: string) => ({
  principals: [{ kind: 'Exact', value: `cluster.local/ns/default/sa/sa-${name}` }] as const,
});
const onlyFriend = policy('Allow', principal('friend'), { name: 'only-friend' });
const noStranger = policy('Deny', principal('stranger'), { name: 'no-stranger' });

/** `full`: rounds of two changes in a long run, enough for {@link LEAST}. */
for (const [what, kernelPath, node, full] of [
  ['on the kernel path', true, 0, 300],
  ['on the tunnel path', false, 0, 1_000],
  ['on the tunnel path to another node', true, 1, 600],
] as const) {
  const rounds = repetitions({ ci: 16, full });
  describe(`policies that change while connections are made, ${what}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let friend: Pod;
    let stranger: Pod;
    let to: string[];
    let server: Pod;

    before(async () => {
      lab = await createLab();
      await lab.node();
      await lab.node();
      mesh = await startMesh(lab, { kernelPath });
      ({ pod: friend } = await mesh.pod({ name: 'friend' }));
      ({ pod: stranger } = await mesh.pod({ name: 'stranger' }));
      ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }, node));
      await server.serve({ port: 8080, mode: 'http' });
      to = Object.values(server.addresses).map((address) => endpointText(address, 8080));
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    /** Waits until the server has answered further connections. */
    async function served(): Promise<void> {
      const connections = async () => (await server.counts())[0]?.connections ?? 0;
      const before = await connections();
      await mesh.proxyOf(server).until('a client is served', async () => (await connections()) > before + 10);
    }

    // Packets that a change delays are retransmitted with growing intervals; another change may delay each of them again.
    const dialAsOftenAsPossible = (from: Pod) =>
      from.startDialing({
        ...{ to, connections: 0, concurrency: 3, mode: 'http' },
        timeoutMs: from === friend ? 40_000 : 8_000,
      });

    test('while one denying policy replaces another, the denied are never served and the allowed always', async (context) => {
      await mesh.apply(onlyFriend);
      const dialings = [friend, stranger].map(dialAsOftenAsPossible);
      const turns = (connections: number) =>
        Promise.all(dialings.map((dialing) => dialing.turns(connections)));
      const stop = () => Promise.all(dialings.map((dialing) => dialing.stop()));
      try {
        for (let round = 0; round < rounds; round++) {
          await mesh.apply(noStranger, without(onlyFriend));
          await turns(random(8));
          await mesh.apply(onlyFriend, without(noStranger));
          await turns(random(8));
        }
      } catch (error) {
        // Removes the load and policies before the next test.
        await stop();
        await mesh.apply(without(onlyFriend), without(noStranger));
        throw error;
      }
      const [allowed, denied] = await stop();
      await mesh.apply(without(onlyFriend));
      context.diagnostic(
        `${2 * rounds} changes, ${allowed?.connections} allowed, ${denied?.connections} denied connections`,
      );
      assert.deepEqual(denied?.byEndpoint, {});
      assert.deepEqual(allowed?.failures, []);
      const [served = 0, refused = 0] = [allowed?.connections, denied?.connections];
      assert.ok(served > 100 && refused > 100 && served + refused >= LEAST, `${served}, ${refused}`);
    });

    test('no connect that begins after a denial was acknowledged is served', async () => {
      for (let round = 0; round < 8; round++) {
        const denial = round % 2 === 0 ? noStranger : onlyFriend;
        const dialing = dialAsOftenAsPossible(stranger);
        await served();
        await dialing.turns(2 * round);
        await mesh.apply(denial);
        await dialing.epoch(1);
        // A few denied connections.
        await dialing.turns(3);
        const report = await dialing.stop();
        assert.ok(
          report.byEpoch.some(({ epoch }) => epoch === 0),
          'served before',
        );
        assert.deepEqual(
          report.byEpoch.filter(({ epoch }) => epoch === 1),
          [],
        );
        await mesh.apply(without(denial));
      }
    });
  });
}
