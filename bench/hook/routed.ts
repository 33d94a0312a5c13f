import type { MeshUpdate } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import { MeshState } from '@kmesh/orchestration';
import { atMost, type Figure, figure, type Ratio } from '../harness/report.ts';
import { quick, whole } from '../harness/settings.ts';
import { hostnameOf, meshUpdates, versionUpdates } from './bench-mesh.ts';
import { HookLoads } from './loads.ts';

/** Services of the mesh, every fourth of which has a route. */
export const ROUTED_SERVICES = 2_000;
const EVERY = 4;
export const ROUTES = ROUTED_SERVICES / EVERY;
/** The ratios of single rounds spread by 12 %; the median of 40 rounds varied by 3 % over four runs, of 12 by 11 %. */
const ROUNDS = whole || quick ? 12 : 40;
const BATCHES = 10;
/** Services dialled, all of which have a route while there are routes. */
const DIALLED = 100;

/** The bench mesh, with two versions of every fourth service. */
export function* routedMesh(): Generator<MeshUpdate> {
  yield* meshUpdates(0, ROUTED_SERVICES);
  for (let index = 0; index < ROUTES; index++) yield* versionUpdates(index * EVERY);
}

/** A route for every fourth service: the same endpoints as without, unequally between its versions. */
export function routeUpdates(weight: number): MeshUpdate[] {
  return Array.from({ length: ROUTES }, (_, index) => routeUpdate(index, weight));
}

/** One of {@link routeUpdates}. */
export function routeUpdate(index: number, weight: number): MeshUpdate {
  const service = index * EVERY;
  const backends = [
    { hostname: hostnameOf(service, 0), weight: 90 },
    { hostname: hostnameOf(service, 1), weight },
  ];
  const hosts = [hostnameOf(service)];
  return { kind: 'route', route: routeRecord({ hosts, name: `route-${index}` }, backends) };
}

/**
 * The hook on the same services with and without routes, interleaved: the choice of a backend is in the slots and costs
 * nothing.
 */
export async function measureRouted(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const view = new MeshState();
  await using loads = await HookLoads.open(view);
  await loads.apply(view.apply(routedMesh()));
  for (const { tables } of loads.instances) loads.enrol(tables);
  const without: number[] = [];
  const routed: number[] = [];
  const dialled = { services: DIALLED, step: ROUTED_SERVICES / DIALLED };
  const measure = async (into: number[]) => {
    for (const { object } of loads.instances) into.push(await loads.measure(object, dialled, BATCHES));
  };
  const removals = Array.from(
    { length: ROUTES },
    (_, index): MeshUpdate => ({ kind: 'removeRoute', key: `default/route-${index}` }),
  );
  // In both orders: a measurement warms the caches for the next one.
  for (let round = 0; round < ROUNDS; round += 2) {
    await measure(without);
    await loads.apply(view.apply(routeUpdates(10)));
    await measure(routed);
    await measure(routed);
    await loads.apply(view.apply(removals));
    await measure(without);
  }
  const name = `connect at ${ROUTED_SERVICES} services, ${ROUTES} of them with a route`;
  figures.push(figure(name, 'without routes', 'ns', without), figure(name, 'with routes', 'ns', routed));
  // Ratio of the same load in the same round: other work of the machine changes slowly.
  const pairs = routed.map((value, index) => value / (without[index] ?? Number.NaN));
  const ratio = figure(name, 'with / without, by load and round', '', pairs);
  figures.push(ratio);
  ratios.push(atMost('hit with a route / without', ratio.value, 1.02));
}
