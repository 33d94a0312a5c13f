import type { MeshUpdate, Policy, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';

interface GeneratedMeshOptions {
  readonly workloads: number;
  /** Default: one per twenty workloads. */
  readonly services?: number;
  /** Default: none. */
  readonly policies?: number;
  /** Number of nodes that the workloads are spread over, `node-0` and up. Default 100. */
  readonly nodes?: number;
}

function address(network: number, index: number): string {
  return `${network + ((index >> 16) >> 8)}.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
}

function generatedServiceKey(index: number): string {
  return `ns-${index % 50}/service-${index}.ns-${index % 50}.svc.cluster.local`;
}

/** Returns the `index`-th service of a generated mesh. */
export function generatedService(index: number): Service {
  const namespace = `ns-${index % 50}`;
  return serviceRecord({
    name: `service-${index}`,
    namespace,
    vips: [{ network: '', ip: address(100, index) }],
    ports: new Map([
      [80, 8080],
      [443, 8443],
    ]),
    ipFamilies: 'IPv4',
    canonical: true,
  });
}

/** Returns the `index`-th workload of a generated mesh: a pod behind service `index mod services`. */
export function generatedWorkload(index: number, services: number, nodes: number): Workload {
  const service = index % Math.max(1, services);
  const namespace = `ns-${service % 50}`;
  const name = `service-${service}-${index}`;
  return workloadRecord({
    name,
    namespace,
    addresses: [address(10, index)],
    protocol: 'HBONE',
    serviceAccount: `account-${service}`,
    node: `node-${index % nodes}`,
    canonicalName: `service-${service}`,
    canonicalRevision: 'v1',
    workloadName: `service-${service}`,
    services:
      services === 0
        ? new Map()
        : new Map([
            [
              generatedServiceKey(service),
              new Map([
                [80, 8080],
                [443, 8443],
              ]),
            ],
          ]),
    locality: { region: 'region-1', zone: `zone-${index % 3}`, subzone: '' },
  });
}

function generatedPolicy(index: number): Policy {
  const namespace = `ns-${index % 50}`;
  return {
    name: `policy-${index}`,
    namespace,
    scope: 'Namespace',
    action: 'Deny',
    rules: [[[{ principals: [{ kind: 'Exact', value: `cluster.local/ns/nobody/sa/account-${index}` }] }]]],
    dryRun: false,
  };
}

/** Returns a mesh of the given size, the same on each call: services, then workloads, then policies. */
export function generateMesh(options: GeneratedMeshOptions): MeshUpdate[] {
  const services = options.services ?? Math.ceil(options.workloads / 20);
  const nodes = options.nodes ?? 100;
  const updates: MeshUpdate[] = [];
  for (let index = 0; index < services; index += 1) {
    updates.push({ kind: 'service', service: generatedService(index) });
  }
  for (let index = 0; index < options.workloads; index += 1) {
    updates.push({ kind: 'workload', workload: generatedWorkload(index, services, nodes) });
  }
  for (let index = 0; index < (options.policies ?? 0); index += 1) {
    updates.push({ kind: 'policy', policy: generatedPolicy(index) });
  }
  return updates;
}
