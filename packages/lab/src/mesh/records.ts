import type { Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import type { AddressPair } from '../network/addresses.ts';
import type { PodIdentity } from '../pods/pod.ts';

/** Service port → target port; what a test writes in place of a `Map`. */
type Ports = Readonly<Record<number, number>>;

export interface WorkloadOptions extends Partial<Omit<Workload, 'services'>> {
  /** Services that the pod is an endpoint of, with the ports that it maps itself. */
  readonly services?: Readonly<Record<string, Ports>>;
}

interface ServiceOptions extends Partial<Omit<Service, 'name' | 'vips' | 'ports'>> {
  readonly name: string;
  /** Addresses on the empty network. */
  readonly vips: AddressPair | readonly string[];
  readonly ports: Ports;
}

/** Where a pod is and what it is called, as the control plane would say it: a plain TCP workload, weight 1. */
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

/** A service, of the namespace `default` by default; its hostname is `<name>.<namespace>.svc.cluster.local`. */
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

/** `namespace/hostname` of a service: what workloads name it by. */
export function keyOf(service: Service): string {
  return `${service.namespace}/${service.hostname}`;
}

function portMap(ports: Ports): ReadonlyMap<number, number> {
  return new Map(Object.entries(ports).map(([port, target]) => [Number(port), target]));
}
