import type { MeshUpdate, Route, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import type { AddressPair } from '../network/addresses.ts';
import type { PodIdentity } from '../pods/pod.ts';

/** Target port by service port, as a literal instead of a `Map`. */
type Ports = Readonly<Record<number, number>>;

export interface WorkloadOptions extends Partial<Omit<Workload, 'services'>> {
  /** Services that the pod is an endpoint of, with the pod's own port mappings. */
  readonly services?: Readonly<Record<string, Ports>>;
}

interface ServiceOptions extends Partial<Omit<Service, 'name' | 'vips' | 'ports'>> {
  readonly name: string;
  /** Addresses on the empty network. */
  readonly vips: AddressPair | readonly string[];
  readonly ports: Ports;
}

/** Returns a pod's workload as the control plane would send it: plain TCP, weight 1. */
export function workloadOf(
  pod: PodIdentity & { readonly addresses: AddressPair },
  options: WorkloadOptions = {},
): Workload {
  const { services, ...rest } = options;
  return workloadRecord({
    name: pod.name,
    namespace: pod.podNamespace,
    addresses: [pod.addresses.v4, pod.addresses.v6],
    serviceAccount: pod.serviceAccount,
    node: pod.node,
    services: new Map(Object.entries(services ?? {}).map(([key, ports]) => [key, portMap(ports)])),
    ...rest,
  });
}

/** Returns a service, in namespace `default` by default; its hostname is `<name>.<namespace>.svc.cluster.local`. */
export function serviceOf(options: ServiceOptions): Service {
  const { name, vips, ports, namespace = 'default', ...rest } = options;
  const ips = 'v4' in vips ? [vips.v4, vips.v6] : vips;
  return serviceRecord({
    name,
    namespace,
    vips: ips.map((ip) => ({ network: '', ip })),
    ports: portMap(ports),
    ...rest,
  });
}

/** Returns `namespace/hostname` of a service, its key in workloads. */
export function keyOf(service: Service): string {
  return `${service.namespace}/${service.hostname}`;
}

function portMap(ports: Ports): ReadonlyMap<number, number> {
  return new Map(Object.entries(ports).map(([port, target]) => [Number(port), target]));
}

/** Returns the update that adds or replaces a record; an update is returned unchanged. */
export function asUpdate(change: MeshUpdate | Service | Workload | Route): MeshUpdate {
  if ('kind' in change) return change;
  if ('exportTo' in change) return { kind: 'route', route: change };
  return 'uid' in change ? { kind: 'workload', workload: change } : { kind: 'service', service: change };
}
