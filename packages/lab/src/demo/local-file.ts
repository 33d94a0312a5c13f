import { existsSync, writeFileSync } from 'node:fs';
import type { MeshUpdate, PortMap } from '@kmesh/api';
import { stringify } from 'yaml';

/** Writes the demo's mesh as a local mesh file (ambient contract 4), unless the file is there already. */
export function writeMeshFile(path: string, mesh: readonly MeshUpdate[]): void {
  if (!existsSync(path)) writeFileSync(path, meshFileText(mesh));
}

/** The text of {@link writeMeshFile}: what the demo's control plane would say. */
function meshFileText(mesh: readonly MeshUpdate[]): string {
  const workloads = mesh.flatMap((update) => (update.kind === 'workload' ? [update.workload] : []));
  const services = mesh.flatMap((update) => (update.kind === 'service' ? [update.service] : []));
  return stringify({
    workloads: workloads.map((workload) => ({
      uid: workload.uid,
      name: workload.name,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      trustDomain: workload.trustDomain,
      workloadIps: workload.addresses,
      node: workload.node,
      protocol: workload.protocol,
      capacity: workload.capacity,
      workloadName: workload.workloadName,
      canonicalName: workload.canonicalName,
      clusterId: workload.clusterId,
      services: Object.fromEntries([...workload.services].map(([key, ports]) => [key, portsOf(ports)])),
    })),
    services: services.map((service) => ({
      name: service.name,
      namespace: service.namespace,
      hostname: service.hostname,
      vips: service.vips.map((vip) => `${vip.network}/${vip.ip}`),
      ports: portsOf(service.ports),
    })),
  });
}

function portsOf(ports: PortMap): Record<string, number> {
  return Object.fromEntries(ports);
}
