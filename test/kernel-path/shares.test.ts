import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, endpointText, keyOf, type Pod, serviceOf, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy } from '@kmesh/lab/testing/traffic/policies.ts';

const DIALS = repetitions({ ci: 2_000, full: 20_000 });
const SERVICES = repetitions({ ci: 1, full: 4 });
/** Limit in standard deviations. Of some tens of shares, one exceeds 3 in every tenth run by chance; this, in one of 3,000 runs. */
const DEVIATIONS = 4.5;

/** Endpoints as a client on the first node sees them: on the kernel path, on the tunnel path by a policy, on another node. */
const places = ['near', 'asked', 'far'] as const;

interface Endpoint {
  readonly name: string;
  readonly place: (typeof places)[number];
  readonly weight: number;
}

/** At least one endpoint of each place, with random weights, of which one may be 0. */
function randomEndpoints(service: number): Endpoint[] {
  const count = places.length + Math.floor(Math.random() * 3);
  return Array.from({ length: count }, (_, at) => ({
    name: `e${service}-${at}`,
    place: places[at % places.length] ?? 'near',
    weight: at >= places.length && Math.random() < 0.3 ? 0 : 1 + Math.floor(Math.random() * 9),
  }));
}

/** A policy by address, which the kernel tables cannot decide. */
const byAddress = policy(
  'Deny',
  {
    sourceIps: ['192.0.2.0/24'],
    principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
  },
  { name: 'by-address' },
);
const bound = { ...byAddress, policy: { ...byAddress.policy, scope: 'WorkloadSelector' as const } };

/** How often each endpoint of each service was reached. */
async function dialAll(
  services: readonly (readonly Endpoint[])[],
  kernelPath: boolean,
): Promise<Record<string, number>[]> {
  await using lab = await createLab();
  await lab.node();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath });
  await mesh.apply(bound);
  const counts: Record<string, number>[] = [];
  let near: Pod | undefined;
  for (const [index, endpoints] of services.entries()) {
    const service = serviceOf({
      name: `shop-${index}`,
      vips: lab.serviceAddress(),
      ports: { 80: 8080 },
    });
    await mesh.apply(service);
    // One client for each service: conntrack keeps the port of a captured connection for minutes.
    const { pod: client } = await mesh.pod({ name: `client-${index}`, serviceAccount: 'sa-client' });
    for (const { name, place, weight } of endpoints) {
      const workload = {
        services: { [keyOf(service)]: {} },
        capacity: weight,
        ...(place === 'asked' ? { authorizationPolicies: [`default/${bound.policy.name}`] } : {}),
      };
      const { pod } = await mesh.pod({ name, workload }, place === 'far' ? 1 : 0);
      await pod.serve({ port: 8080, mode: 'http' });
      near ??= pod;
    }
    if (kernelPath && near !== undefined) await takesKernelPath(mesh, client, `${near.addresses.v4}:8080`);
    await untilTablesFollow(mesh);
    const watch = await mesh.node().proxy.watch();
    // Services alternate between IPv4 and IPv6.
    const to = endpointText(service.vips[index % 2]?.ip ?? '', 80);
    const report = await client.dial({ to, mode: 'http', connections: DIALS, concurrency: 4 });
    assert.equal(report.failed, 0, JSON.stringify(report.failures));
    counts.push(report.byEndpoint);
    const byKernel = () => watch.lines.filter(({ fields }) => fields['path'] === 'kernel').length;
    if (kernelPath) await mesh.node().proxy.until('lines of the kernel path', () => byKernel() > 0);
    else assert.equal(byKernel(), 0);
  }
  return counts;
}

test('LBA: endpoints that take different paths have the shares of their weights, each drawn once, and those of the tunnel path alone', async (context) => {
  const services = Array.from({ length: SERVICES }, (_, at) => randomEndpoints(at));
  const [both = [], tunnel = []] = [await dialAll(services, true), await dialAll(services, false)];
  let [most, shares, beyond] = [0, 0, 0];
  const judge = (what: string, off: number) => {
    shares++;
    most = Math.max(most, off);
    if (off > 3) beyond++;
    assert.ok(off < DEVIATIONS, `${what}: ${off.toFixed(2)} standard deviations`);
  };
  for (const [at, endpoints] of services.entries()) {
    const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
    for (const { name, place, weight } of endpoints) {
      const share = weight / total;
      const [one = 0, other = 0] = [both[at]?.[name], tunnel[at]?.[name]];
      const what = `${name} (${place}, ${weight} of ${total}): ${one} with the kernel path, ${other} without`;
      if (weight === 0) {
        assert.deepEqual([one, other], [0, 0], what);
        continue;
      }
      const deviation = Math.sqrt(DIALS * share * (1 - share));
      judge(what, Math.abs(one - DIALS * share) / deviation);
      judge(what, Math.abs(other - DIALS * share) / deviation);
      judge(what, Math.abs(one - other) / (deviation * Math.SQRT2));
    }
  }
  context.diagnostic(
    `${SERVICES} services of ${DIALS} dials on either path: at most ${most.toFixed(2)} standard deviations; ${beyond} of ${shares} beyond 3`,
  );
});
