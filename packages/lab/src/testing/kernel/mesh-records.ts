import type { Service, Workload } from '@kmesh/api';

/** A workload with the defaults of the local mesh file. */
export function workload(fields: Partial<Workload> & { readonly uid: string }): Workload {
  return {
    name: fields.uid,
    namespace: 'default',
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'TCP',
    trustDomain: '',
    serviceAccount: '',
    waypoint: undefined,
    networkGateway: undefined,
    node: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadType: 'pod',
    workloadName: '',
    nativeTunnel: false,
    applicationTunnel: undefined,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: '',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...fields,
  };
}

/** A service with the defaults of the local mesh file. */
export function service(fields: Partial<Service> & { readonly hostname: string }): Service {
  return {
    name: fields.hostname.split('.')[0] ?? '',
    namespace: 'default',
    vips: [],
    cidrVips: [],
    ports: new Map(),
    subjectAltNames: [],
    waypoint: undefined,
    weightedWaypoints: [],
    loadBalancer: undefined,
    ipFamilies: undefined,
    canonical: false,
    visibility: 'Public',
    ...fields,
  };
}
