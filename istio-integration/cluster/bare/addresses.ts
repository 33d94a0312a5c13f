/**
 * Addresses of a cluster. The host has one address in the nodes' network, through which its kubectl and istioctl reach
 * the API server; the rest of the host's network is not changed.
 */
export const network = {
  prefix: 24,
  control: '10.123.0.1',
  host: '10.123.0.254',
  /** The host's interface in that network. */
  hostInterface: 'kmesh-cluster',
  pods: '10.124.0.0/16',
  services: '10.125.0.0/16',
  /** Range of services of type LoadBalancer, if a controller assigns addresses; nodes accept connections to it. */
  balancers: '10.126.0.0/24',
  /** The first of the services' addresses: the API server's own service. */
  apiService: '10.125.0.1',
  dns: '10.125.0.10',
  domain: 'cluster.local',
  /** An address of an unused range: the answer of the cluster's DNS for outside names. */
  documentation: '192.0.2.1',
} as const;

/** Name and addresses of the nth node, from 1. */
export function nodeAddresses(number: number): { name: string; address: string; pods: string } {
  return { name: `node${number}`, address: `10.123.0.${10 + number}`, pods: `10.124.${number}.0/24` };
}

/** Address of the API server, from the host and from the nodes. */
export const apiServer = `https://${network.control}:6443`;
