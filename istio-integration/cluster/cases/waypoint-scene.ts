import type { V1Pod } from '@kubernetes/client-node';
import { waypoint } from '../mesh/waypoint.ts';
import { app, deployment, having, inside, onlyPod, ports, type Scene } from './scene.ts';

export const WAYPOINT = 'waypoint';
/** Name of the server, its service and its account. */
export const SERVICE = 'behind';
export const url = `http://${SERVICE}.${inside}:80`;

/** An object that a policy or a route refers to. */
export type Target = { readonly group: string; readonly kind: string; readonly name: string };
export const service: Target = { group: '', kind: 'Service', name: SERVICE };

/** A server on another node than its client, and a URL of its pod. */
export interface Behind {
  readonly client: V1Pod;
  readonly pod: V1Pod;
  readonly direct: string;
}

/** Creates a server on another node than the client, and removes it afterwards. */
export async function withServer(
  scene: Scene,
  labels: Readonly<Record<string, string>>,
  action: (behind: Behind) => Promise<void>,
): Promise<void> {
  const [, far] = scene.nodes;
  const client = await onlyPod(scene, 'client');
  const place = { namespace: inside, ...(far === undefined ? {} : { node: far }) };
  await having(scene, app(SERVICE, { ...place, labels }), async () => {
    await scene.api.rolledOut(deployment(SERVICE));
    const pod = await onlyPod(scene, SERVICE);
    await action({ client, pod, direct: `http://${pod.status?.podIP}:${ports.http}` });
  });
}

/** Creates a server and a waypoint, and removes both afterwards. */
export async function withWaypoint(
  scene: Scene,
  traffic: 'service' | 'workload',
  action: (behind: Behind) => Promise<void>,
): Promise<void> {
  const labels = traffic === 'workload' ? { 'istio.io/use-waypoint': WAYPOINT } : {};
  await having(scene, [waypoint(WAYPOINT, { namespace: inside, traffic })], async () => {
    await scene.api.rolledOut(deployment(WAYPOINT));
    await withServer(scene, labels, action);
  });
}

/** Has the service's traffic pass a waypoint, or with `null` none. */
export async function useWaypoint({ api }: Scene, name: string | null): Promise<void> {
  await api.merge({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: SERVICE, namespace: inside, labels: { 'istio.io/use-waypoint': name } } as never,
  });
}
