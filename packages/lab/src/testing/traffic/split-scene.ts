import type { Route, RouteBackend, Service } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import type { LabMesh, MeshPod } from '../../mesh/lab-mesh.ts';
import { keyOf, serviceOf } from '../../mesh/records.ts';
import { takesKernelPath } from '../daemon/pinned-node.ts';

/** A service whose versions are separate services, and its client. */
export interface SplitScene {
  readonly client: MeshPod;
  /** `shop`, port 80; its own endpoint is `shop-0`. */
  readonly service: Service;
  /** `shop-v1` and so on, each served by a pod `v1` and so on. */
  readonly versions: readonly Service[];
  /** `ip:port` of `shop`. */
  readonly to: string;
}

const serverPort = 8080;

/**
 * Builds a client on node 0, the service `shop` and one version for each of `nodes`, on that node. With the kernel path
 * on, returns when connections to everything on node 0 take it.
 */
export async function startSplitScene(mesh: LabMesh, nodes: readonly number[]): Promise<SplitScene> {
  const client = await mesh.pod({ name: 'client' });
  const named = (name: string) =>
    serviceOf({ name, vips: mesh.lab.serviceAddress(), ports: { 80: serverPort } });
  const service = named('shop');
  const versions = nodes.map((_, index) => named(`shop-v${index + 1}`));
  await mesh.apply(service, ...versions);
  const serve = async (name: string, of: Service, node: number) => {
    const server = await mesh.pod({ name, workload: { services: { [keyOf(of)]: {} } } }, node);
    await server.pod.serve({ port: serverPort, mode: 'http' });
    if (mesh.kernelPath && node === 0) {
      await takesKernelPath(mesh, client.pod, `${server.pod.addresses.v4}:${serverPort}`);
    }
  };
  await serve('shop-0', service, 0);
  for (const [index, version] of versions.entries()) await serve(`v${index + 1}`, version, nodes[index] ?? 0);
  return { client, service, versions, to: `${service.vips[0]?.ip}:80` };
}

/** A TCP route that gives the connections to `shop` to its versions by weight. */
export function splitBy(
  { service, versions }: Pick<SplitScene, 'service' | 'versions'>,
  weights: readonly number[],
  more: readonly RouteBackend[] = [],
): Route {
  const backends = weights.map((weight, index) => ({ hostname: versions[index]?.hostname ?? '', weight }));
  return routeRecord({ hosts: [service.hostname] }, [...backends, ...more]);
}

/**
 * Returns the deviation of each version's count from its share, in standard deviations; infinite for a reached version
 * without a weight.
 */
export function deviations(
  weights: readonly number[],
  byEndpoint: Readonly<Record<string, number>>,
): readonly number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const dials = Object.values(byEndpoint).reduce((total, count) => total + count, 0);
  return weights.map((weight, index) => {
    const share = weight / sum;
    const off = Math.abs((byEndpoint[`v${index + 1}`] ?? 0) - dials * share);
    return off === 0 ? 0 : off / Math.sqrt(dials * share * (1 - share));
  });
}
