/** The time from a policy change to the last packet of a live connection. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { type Lines, linesOf } from './lines.ts';

const PORT = 8085;
const ROUNDS = 30;

const principals = (name: string) => ({
  principals: [{ kind: 'Exact', value: `cluster.local/ns/default/sa/sa-${name}` }] as const,
});

const changes = {
  'a DENY of the client': policy('Deny', principals('client'), { name: 'no-client' }),
  'an ALLOW of another identity': policy('Allow', principals('somebody'), { name: 'only-somebody' }),
  'a DENY of the port': policy(
    'Deny',
    { ...principals('client'), destinationPorts: [PORT] },
    { name: 'no-port' },
  ),
};

describe('a live connection between two pods of a node that sends continuously', () => {
  const pace = buildNative('pace', new URL('native/', import.meta.url));
  let lab: Lab;
  let mesh: LabMesh;
  let client: Pod;
  let server: Pod;
  let arrivals: Lines;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true });
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }));
    await server.serve({ port: 8080, mode: 'http' });
    await untilEnrolled(mesh, [client, server]);
    arrivals = linesOf(server.spawn(pace, ['serve', String(PORT)]));
    assert.equal(await arrivals.next(), 'ready');
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  for (const [what, change] of Object.entries(changes)) {
    test(`NEG-10: no byte sent after ${what} was acknowledged arrives`, async (context) => {
      const inForce: number[] = [];
      const margins: number[] = [];
      const resets: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        await takesKernelPath(mesh, client, `${server.addresses.v4}:8080`);
        const sending = linesOf(client.spawn(pace, ['send', server.addresses.v4, String(PORT)]));
        assert.equal(await sending.next(), 'ready');
        const published = process.hrtime.bigint();
        await mesh.apply(change);
        const acknowledged = process.hrtime.bigint();
        const refused = BigInt(await sending.next());
        const newest = BigInt(await arrivals.next());
        await mesh.apply(without(change));
        assert.ok(newest > 0n, 'packets were admitted before');
        assert.ok(newest < acknowledged, `sent ${newest - acknowledged} ns after the acknowledgement`);
        inForce.push(Number(newest - published) / 1e6);
        margins.push(Number(acknowledged - newest) / 1e6);
        resets.push(Number(refused - published) / 1e6);
      }
      for (const [name, values] of Object.entries({
        'published to the last admitted packet': inForce,
        'last admitted packet to the acknowledgement': margins,
        'published to the reset at the client': resets,
      }))
        context.diagnostic(`${name}, ms: ${summary(values)}`);
    });
  }
});

function summary(values: number[]): string {
  const sorted = values.sort((left, right) => left - right);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]?.toFixed(2);
  return `p50 ${at(0.5)}, p90 ${at(0.9)}, most ${at(1)}`;
}
