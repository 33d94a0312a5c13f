import assert from 'node:assert/strict';
import type { MeshUpdate, Why, WhyOutcome } from '@kmesh/api';
import { createLab, endpointText, type MeshPod, type NodeProxy } from '@kmesh/lab';
import { policy } from '@kmesh/lab/testing/traffic/policies.ts';
import { Random } from './random-mesh.ts';
import { ports, randomise, startWorld, type World } from './real-mesh.ts';

/** Numbers of dialled connections by outcome. */
export type Seen = Record<'kernel' | 'tunnel' | 'refused' | 'denied' | 'dials' | 'varied', number>;

/** Connections of one client to one port of one service. */
const DIALS = 3;

interface Question {
  readonly client: MeshPod;
  readonly to: string;
  readonly answer: Why;
}

/**
 * Calls `why`, then dials: each connection must match one of the predicted outcomes by path, endpoint and verdict, and
 * the proxy must have counted the predicted number of connections for each path and reason.
 */
export async function compareWithDials(kernelPath: boolean, dials: number): Promise<Seen> {
  await using lab = await createLab();
  const world = await startWorld(lab, { kernelPath });
  await using _ = world.mesh;
  const seen: Seen = { kernel: 0, tunnel: 0, refused: 0, denied: 0, dials: 0, varied: 0 };
  for (let seed = 1; seen.dials < dials; seed++) await compareMesh(world, seed, seen);
  return seen;
}

async function compareMesh(world: World, seed: number, seen: Seen): Promise<void> {
  const random = new Random(seed);
  const policies = randomPolicies(random, world);
  const { services } = await randomise(world, random, policies);
  const { proxy } = world.mesh.node(0);
  for (const client of world.clients) {
    for (const service of services) {
      for (const port of ports) {
        const ip = service.vips[random.below(2)]?.ip ?? '';
        await compareDials(world, `mesh ${seed}`, await ask(client, endpointText(ip, port)), seen);
      }
    }
    const server = random.pick(world.servers as [MeshPod, ...MeshPod[]]);
    const address = random.chance(0.5) ? server.pod.addresses.v4 : server.pod.addresses.v6;
    await compareDials(world, `mesh ${seed}`, await ask(client, endpointText(address, 8001)), seen);
  }

  async function ask(client: MeshPod, to: string): Promise<Question> {
    const { podNamespace, name } = client.pod;
    const query = new URLSearchParams({ source: `${podNamespace}/${name}`, destination: to });
    const { status, body } = await proxy.http(15000, `/kmesh/why?${query}`);
    assert.equal(status, 200, body);
    return { client, to, answer: JSON.parse(body) as Why };
  }
}

async function compareDials(
  { mesh }: World,
  about: string,
  { client, to, answer }: Question,
  seen: Seen,
): Promise<void> {
  const { proxy } = mesh.node(0);
  const where = `${about}, ${client.pod.name} → ${to}: said ${JSON.stringify(answer.outcomes)}`;
  const shares = answer.outcomes.reduce((sum, { share }) => sum + share, 0);
  assert.ok(Math.abs(shares - 1) < 1e-6, where);
  const watch = await proxy.watch();
  const report = await client.pod.dial({ to, connections: DIALS, concurrency: DIALS });
  seen.dials += DIALS;
  if (answer.outcomes.length > 1) seen.varied++;
  // Each connection has one line of the client's side, or was refused in the kernel, which is reported as a failure.
  const own = () =>
    watch.lines.filter(
      ({ fields }) =>
        fields['direction'] === 'outbound' && fields['src.addr']?.startsWith(sourceOf(client, to)),
    );
  await proxy.until(`${where}: every line is written`, () => own().length >= DIALS);
  const counted = new Map<string, number>();
  let answered = 0;
  for (const { fields } of own()) {
    const line = `${where}; logged ${JSON.stringify(fields)}`;
    const met = answer.outcomes.find((outcome) => isSameOutcome(outcome, fields));
    assert.ok(met !== undefined, `${line}; all so far ${await reasonsOf(proxy)}`);
    // No host has the address of a service that the client does not see.
    if (met.verdict === 'allowed' && met.workload !== '') answered++;
    seen[met.verdict === 'allowed' ? (met.path as 'kernel' | 'tunnel') : met.verdict]++;
    if (met.path === 'none') continue;
    const key = `${met.path} ${met.reason}`;
    counted.set(key, (counted.get(key) ?? 0) + 1);
  }
  assert.equal(own().length, DIALS, where);
  assert.equal(DIALS - report.failed, answered, `${where}; dialled ${JSON.stringify(report)}`);
  for (const [key, connections] of counted) {
    const [path = '', reason = ''] = key.split(' ');
    await proxy.until(`${where}: kmesh_connections_path_total of ${key} grew by ${connections}`, async () => {
      const grown = await watch.growth('kmesh_connections_path_total', { path, reason });
      return grown >= connections;
    });
  }
}

function sourceOf({ pod }: MeshPod, to: string): string {
  return to.startsWith('[') ? `[${pod.addresses.v6}]` : `${pod.addresses.v4}:`;
}

/** Describes the paths and reasons of the node's connections. */
async function reasonsOf(proxy: NodeProxy): Promise<string> {
  const samples = await proxy.metrics();
  return JSON.stringify(samples.filter(({ name }) => name === 'kmesh_connections_path_total'));
}

/** Returns whether an outcome describes the connection of an access log line. */
function isSameOutcome(outcome: WhyOutcome, fields: Readonly<Record<string, string>>): boolean {
  const { path, verdict, workload, address } = outcome;
  if (verdict === 'refused') return fields['path'] === undefined && fields['error'] !== undefined;
  if (fields['path'] !== path) return false;
  if (workload !== '' && (verdict === 'denied') !== (fields['error'] !== undefined)) return false;
  const reached =
    fields['dst.workload'] === undefined ? '' : `${fields['dst.namespace']}/${fields['dst.workload']}`;
  return reached === workload && fields['dst.addr'] === address;
}

/** Replaces the policy by none, or by one that denies or allows one of the clients at the servers' ports. */
function randomPolicies(random: Random, { clients, view }: World): MeshUpdate[] {
  const before = view
    .policiesOfNamespace('default')
    .map(({ namespace, name }) => ({ kind: 'removePolicy', key: `${namespace}/${name}` }) as const);
  if (random.chance(0.4)) return before;
  const { pod } = random.pick(clients as [MeshPod, ...MeshPod[]]);
  const principal = `cluster.local/ns/${pod.podNamespace}/sa/${pod.serviceAccount}`;
  const ofPort = random.chance(0.5) ? { destinationPorts: [random.pick([8001, 8002])] } : {};
  const match = { principals: [{ kind: 'Exact', value: principal } as const], ...ofPort };
  return [policy(random.pick(['Allow', 'Deny']), match)];
}
