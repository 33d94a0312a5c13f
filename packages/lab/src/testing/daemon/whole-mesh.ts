import type { GatewayAddress, MeshUpdate, Policy, Service, Workload } from '@kmesh/api';

const byAddress: GatewayAddress = {
  destination: { kind: 'address', network: '', ip: '10.3.0.9' },
  hboneMtlsPort: 15008,
};
const byHostname: GatewayAddress = {
  destination: { kind: 'hostname', namespace: 'edge', hostname: 'gateway.edge.example' },
  hboneMtlsPort: 15009,
};

/** A workload with every field set; an endpoint of `whole/all.example`, and of a service that is not declared. */
const wholeWorkload: Workload = {
  uid: 'Kubernetes//Pod/whole/everything',
  name: 'everything',
  namespace: 'whole',
  addresses: ['10.3.0.1', 'fd00:3::1'],
  hostname: 'everything.whole.example',
  network: 'net1',
  protocol: 'HBONE',
  trustDomain: 'td.example',
  serviceAccount: 'keeper',
  waypoint: byAddress,
  networkGateway: byHostname,
  node: 'node9',
  canonicalName: 'app',
  canonicalRevision: 'v2',
  workloadType: 'deployment',
  workloadName: 'everything-deployment',
  nativeTunnel: true,
  applicationTunnel: { protocol: 'PROXY', port: 15088 },
  services: new Map([
    ['whole/all.example', new Map([[80, 8080]])],
    ['ghost/nobody.example', new Map([[90, 9090]])],
  ]),
  authorizationPolicies: ['whole/every-match'],
  status: 'Healthy',
  clusterId: 'cluster7',
  locality: { region: 'r', zone: 'z', subzone: 's' },
  networkMode: 'Standard',
  capacity: 5,
};

/** A service with every field set. */
const wholeService: Service = {
  name: 'all',
  namespace: 'whole',
  hostname: 'all.example',
  vips: [
    { network: '', ip: '10.96.3.1' },
    { network: 'net1', ip: 'fd00:96:3::1' },
  ],
  cidrVips: [{ network: '', cidr: '10.97.0.0/16' }],
  ports: new Map([
    [80, 8080],
    [443, 0],
  ]),
  subjectAltNames: ['spiffe://td.example/ns/whole/sa/keeper'],
  waypoint: byHostname,
  weightedWaypoints: [{ destination: byAddress, weight: 3 }],
  loadBalancer: { routingPreferences: ['Region', 'Zone'], mode: 'Failover', healthPolicy: 'AllowAll' },
  ipFamilies: 'Dual',
  canonical: true,
  visibility: 'Namespace',
};

/** A policy that uses every kind of match and every matcher. */
const wholePolicy: Policy = {
  name: 'every-match',
  namespace: 'whole',
  scope: 'WorkloadSelector',
  action: 'Deny',
  dryRun: true,
  rules: [
    [
      [
        {
          namespaces: [{ kind: 'Exact', value: 'a' }],
          notNamespaces: [{ kind: 'Prefix', value: 'b' }],
          principals: [{ kind: 'Suffix', value: 'c' }],
          notPrincipals: [{ kind: 'Presence' }],
          serviceAccounts: [{ namespace: 'n', serviceAccount: 'one' }],
          notServiceAccounts: [{ namespace: 'n', serviceAccount: 'two' }],
          sourceIps: ['10.0.0.0/8'],
          notSourceIps: ['10.1.0.0/16'],
          destinationIps: ['fd00::/8'],
          notDestinationIps: ['fd01::/16'],
          destinationPorts: [80],
          notDestinationPorts: [81],
        },
      ],
    ],
  ],
};

/** One object of every kind, each complete. */
export const wholeMesh: readonly MeshUpdate[] = [
  { kind: 'workload', workload: wholeWorkload },
  { kind: 'service', service: wholeService },
  { kind: 'policy', policy: wholePolicy },
];
