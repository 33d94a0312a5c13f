import { workloadProto, xds } from '@kmesh/api';

/** A mesh as a control plane of a busy cluster would push it. */
export interface BenchmarkMesh {
  readonly workloads: number;
  readonly services: number;
}

const zones = ['a', 'b', 'c'];

/** The uid of the workload with this number. */
export function workloadUid(index: number): string {
  return `Kubernetes//Pod/namespace-${index % 200}/deployment-${index % 5000}-7d9f8b6c5d-${index.toString(36).padStart(5, '0')}`;
}

/** One workload of the mesh, encoded as the payload of its resource; `unhealthy` changes its content. */
function workloadPayload(mesh: BenchmarkMesh, index: number, unhealthy: boolean): Buffer {
  const service = index % mesh.services;
  const uid = workloadUid(index);
  return workloadProto.Address.encode({
    workload: {
      uid,
      name: uid.slice(uid.lastIndexOf('/') + 1),
      namespace: `namespace-${index % 200}`,
      addresses: [Uint8Array.of(10, (index >> 16) & 255, (index >> 8) & 255, index & 255)],
      tunnelProtocol: workloadProto.TunnelProtocol.HBONE,
      serviceAccount: `account-${service}`,
      node: `node-${index % 1000}`,
      canonicalName: `application-${service}`,
      canonicalRevision: 'v1',
      workloadType: workloadProto.WorkloadType.POD,
      workloadName: `deployment-${index % 5000}`,
      services: {
        [serviceName(service)]: {
          ports: [
            { servicePort: 80, targetPort: 8080 },
            { servicePort: 9090, targetPort: 9090 },
          ],
        },
      },
      status: unhealthy ? workloadProto.WorkloadStatus.UNHEALTHY : workloadProto.WorkloadStatus.HEALTHY,
      locality: { region: 'region-1', zone: `region-1${zones[index % 3]}`, subzone: '' },
    },
  });
}

function serviceName(index: number): string {
  return `namespace-${index % 200}/service-${index}.namespace-${index % 200}.svc.cluster.local`;
}

function servicePayload(index: number): Buffer {
  const [namespace = '', hostname = ''] = serviceName(index).split('/');
  return workloadProto.Address.encode({
    service: {
      name: `service-${index}`,
      namespace,
      hostname,
      addresses: [
        { network: '', address: Uint8Array.of(10, 96 + (index >> 16), (index >> 8) & 255, index & 255) },
      ],
      ports: [
        { servicePort: 80, targetPort: 8080 },
        { servicePort: 9090, targetPort: 9090 },
      ],
    },
  });
}

function resource(name: string, version: string, value: Buffer): xds.Resource {
  return { name, version, resource: { typeUrl: xds.addressTypeUrl, value } };
}

/** The whole mesh in one response, workloads first, as istiod sends it. */
export function fullPush(mesh: BenchmarkMesh): Buffer {
  const resources: xds.Resource[] = [];
  for (let index = 0; index < mesh.workloads; index++) {
    const version = index.toString(16).padStart(16, '0');
    resources.push(resource(workloadUid(index), version, workloadPayload(mesh, index, false)));
  }
  for (let index = 0; index < mesh.services; index++) {
    resources.push(resource(serviceName(index), index.toString(16).padStart(16, '0'), servicePayload(index)));
  }
  return xds.DeltaDiscoveryResponse.encode({ typeUrl: xds.addressTypeUrl, nonce: 'full', resources });
}

/** Endpoints that became unhealthy, or healthy again, in one response. */
export function endpointChanges(
  mesh: BenchmarkMesh,
  indexes: readonly number[],
  unhealthy: boolean,
  nonce: string,
): Buffer {
  const resources = indexes.map((index) =>
    resource(workloadUid(index), `${nonce}-${index}`, workloadPayload(mesh, index, unhealthy)),
  );
  return xds.DeltaDiscoveryResponse.encode({ typeUrl: xds.addressTypeUrl, nonce, resources });
}
