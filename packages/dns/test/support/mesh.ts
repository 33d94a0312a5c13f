import type { MeshUpdate, Service, Workload } from '@kmesh/api';
import { MeshState } from '@kmesh/orchestration';

/** A service with the address or addresses `vips` (`network/ip`), under the key `namespace/hostname`. */
export function service(key: string, vips: readonly string[], fields: Partial<Service> = {}): MeshUpdate {
  const slash = key.indexOf('/');
  const [namespace, hostname] = [key.slice(0, slash), key.slice(slash + 1)];
  return {
    kind: 'service',
    service: {
      name: hostname.split('.')[0] ?? hostname,
      namespace,
      hostname,
      vips: vips.map((vip) => {
        const at = vip.indexOf('/');
        return { network: vip.slice(0, at), ip: vip.slice(at + 1) };
      }),
      cidrVips: [],
      ports: new Map([[80, 8080]]),
      subjectAltNames: [],
      waypoint: undefined,
      weightedWaypoints: [],
      loadBalancer: undefined,
      ipFamilies: undefined,
      canonical: false,
      visibility: 'Public',
      ...fields,
    },
  };
}

/** A pod `namespace/name` on network `nw1` that is an endpoint of `services` (keys). */
export function pod(
  name: string,
  addresses: readonly string[],
  fields: Partial<Omit<Workload, 'services'>> & { readonly services?: readonly string[] } = {},
): MeshUpdate {
  const [namespace = '', podName = ''] = name.split('/');
  const { services = [], ...rest } = fields;
  return {
    kind: 'workload',
    workload: {
      uid: `Kubernetes//Pod/${name}`,
      name: podName,
      namespace,
      addresses,
      hostname: '',
      network: 'nw1',
      protocol: 'HBONE',
      trustDomain: 'cluster.local',
      serviceAccount: 'default',
      waypoint: undefined,
      networkGateway: undefined,
      node: 'node',
      canonicalName: podName,
      canonicalRevision: 'v1',
      workloadType: 'pod',
      workloadName: podName.replace(/-\d+$/, ''),
      nativeTunnel: false,
      applicationTunnel: undefined,
      services: new Map(services.map((key) => [key, new Map()])),
      authorizationPolicies: [],
      status: 'Healthy',
      clusterId: 'Kubernetes',
      locality: { region: '', zone: '', subzone: '' },
      networkMode: 'Standard',
      capacity: 1,
      ...rest,
    },
  };
}

/** The mesh of the conformance list's DNS rows; the client is in `ns1` on network `nw1`. */
export function conformanceMesh(): MeshState {
  const state = new MeshState();
  const headless = 'ns1/headless.ns1.svc.cluster.local';
  const onlyV6 = 'ns1/headless-v6.ns1.svc.cluster.local';
  const set = 'ns1/set.ns1.svc.cluster.local';
  state.apply([
    service('ns1/www.google.com', ['nw1/1.1.1.1']),
    service('ns1/productpage.ns1.svc.cluster.local', ['nw1/9.9.9.9']),
    service('ns2/example.ns2.svc.cluster.local', ['nw1/10.10.10.10']),
    service('ns2/private.ns2.svc.cluster.local', ['nw1/10.10.10.11'], { visibility: 'Namespace' }),
    service('ns1/private.ns1.svc.cluster.local', ['nw1/10.10.10.12'], { visibility: 'Namespace' }),
    service('ns2/details.ns2.svc.cluster.remote', [
      ...['nw1/11.11.11.11', 'nw1/12.12.12.12', 'nw1/13.13.13.13', 'nw1/14.14.14.14'],
    ]),
    service('ns1/dual.localhost', ['nw1/1.1.1.1', 'nw1/2002::1']),
    service('ns1/ipv6.localhost', ['nw1/2002::2']),
    service('ns1/only4.ns1.svc.cluster.local', ['nw1/3.3.3.3', 'nw1/2002::3'], { ipFamilies: 'IPv4' }),
    service('ns1/*.wildcard', ['nw1/10.1.2.1']),
    service('ns1/*.b.wildcard', ['nw1/10.1.2.2']),
    service('ns1/*.svc.mesh.company.net', ['nw1/10.1.2.3']),
    service('ns1/elsewhere.example', ['nw2/2.2.2.2']),
    service('ns1/both.example', ['nw2/2.2.2.2', 'nw1/3.3.3.3']),
    service('ns1/range.example', [], { cidrVips: [{ network: 'nw1', cidr: '10.9.0.0/16' }] }),
    service('ns1/outside.example', []),
    service(headless, []),
    service(onlyV6, []),
    service(set, []),
    service('ns3/preferred.io', ['nw1/10.20.0.3']),
    service('ns-preferred/preferred.io', ['nw1/10.20.0.2']),
    service('ns3/local.io', ['nw1/10.20.1.3'], { canonical: true }),
    service('ns1/local.io', ['nw1/10.20.1.1']),
    service('ns-preferred/canonical.io', ['nw1/10.20.2.2']),
    service('ns3/canonical.io', ['nw1/10.20.2.3'], { canonical: true }),
    service('ns1/UPPER.Example', ['nw1/4.4.4.4']),
    service(
      'ns1/many.example',
      [...Array(256).keys()].map((last) => `nw1/10.30.0.${last}`),
    ),
    pod('ns1/client', ['10.0.0.1']),
    pod('ns1/one', ['10.0.1.1', '2001:db8::1'], { services: [headless] }),
    pod('ns1/two', ['10.0.1.2', '2001:db8::2'], { services: [headless] }),
    pod('ns1/ill', ['10.0.1.3', '2001:db8::3'], { services: [headless], status: 'Unhealthy' }),
    pod('ns1/far', ['10.0.1.4', '2001:db8::4'], { services: [headless], network: 'nw2' }),
    pod('ns1/six', ['2001:db8::6'], { services: [onlyV6] }),
    pod('ns1/set-0', ['10.0.2.1', '2001:db8::20'], { services: [set] }),
    pod('ns1/set-1', ['10.0.2.2'], { services: [set] }),
    pod('ns1/set-2', ['10.0.2.3'], { services: [set], status: 'Unhealthy' }),
    pod('ns1/plain-7d4b9c', ['10.0.2.4'], { services: [set], workloadName: 'plain' }),
  ]);
  return state;
}
