/**
 * Where everything of a cluster is. The host has one address in the nodes' network, through which its kubectl and istioctl
 * reach the API server; no other part of the host's network is touched.
 */
export const network = {
  prefix: 24,
  control: '10.123.0.1',
  host: '10.123.0.254',
  /** The host's interface in that network. */
  hostInterface: 'kmesh-cluster',
  pods: '10.124.0.0/16',
  services: '10.125.0.0/16',
  /** Of services of type LoadBalancer, where something gives them addresses; nodes take what goes there. */
  balancers: '10.126.0.0/24',
  /** The first of the services' addresses: the API server's own service. */
  apiService: '10.125.0.1',
  dns: '10.125.0.10',
  domain: 'cluster.local',
  /** Of an unused range: what the cluster's DNS says of names outside. */
  documentation: '192.0.2.1',
} as const;

/** Name and addresses of the nth node, from 1. */
export function nodeAddresses(number: number): { name: string; address: string; pods: string } {
  return { name: `node${number}`, address: `10.123.0.${10 + number}`, pods: `10.124.${number}.0/24` };
}

/** Where the API server is asked for, from the host and from the nodes. */
export const apiServer = `https://${network.control}:6443`;
