import type {
  GatewayAddress,
  LoadBalancerMode,
  LocalityScope,
  MeshUpdate,
  NetworkCidr,
  Route,
  RouteRule,
  Service,
  Workload,
} from '@kmesh/api';
import { service, workload } from '@kmesh/lab/testing/kernel/kernel-path.ts';

/** A small deterministic generator (xorshift), so that a failing mesh can be reproduced from its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e37_79b1) ^ 0x5bd1_e995) | 1;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<Item>(items: readonly [Item, ...Item[]]): Item {
    return items[this.below(items.length)] ?? items[0];
  }
}

export const clientNamespaces = ['alpha', 'beta', 'gamma'] as const;
export const ports = [80, 443, 9000] as const;
/** Addresses that meshes use; few, so that they collide. */
export const vipPool = [
  '10.10.0.1',
  '10.10.0.2',
  '10.10.0.3',
  '10.10.0.4',
  'fd10::1',
  'fd10::2',
  '10.50.1.1',
] as const;
export const workloadPool = [
  '10.20.0.1',
  '10.20.0.2',
  '10.20.0.3',
  '10.20.0.4',
  '10.20.0.5',
  '10.20.0.6',
  'fd20::1',
  'fd20::2',
  'fd20::3',
  '10.50.1.7',
  '10.50.2.7',
] as const;
const cidrPool = ['10.50.0.0/16', '10.50.1.0/24', 'fd50::/64'] as const;
export const outsidePool = ['10.50.1.99', '10.50.7.7', 'fd50::9', '192.0.2.1', '2001:db8::1'] as const;

const scopes = [
  'Region',
  'Zone',
  'Subzone',
  'Node',
  'Cluster',
  'Network',
] as const satisfies readonly LocalityScope[];
const modes = [
  'Standard',
  'Strict',
  'Standard',
  'Failover',
  'Failover',
  'Passthrough',
] as const satisfies readonly LoadBalancerMode[];
const hostnames = ['a.test', 'b.test', 'waypoint-shop.test', 'd.test', 'e.test'] as const;

/** Updates that turn the previous mesh into the next one: some records stay, some change, some are removed. */
export function randomUpdates(random: Random): MeshUpdate[] {
  const updates: MeshUpdate[] = [];
  for (const namespace of clientNamespaces) {
    for (const hostname of hostnames) {
      const key = `${namespace}/${hostname}`;
      if (random.chance(0.35))
        updates.push({ kind: 'service', service: randomService(random, namespace, hostname) });
      else if (random.chance(0.4)) updates.push({ kind: 'removeService', key });
    }
  }
  for (let index = 0; index < 14; index++) {
    const uid = `workload-${index}`;
    if (random.chance(0.5)) updates.push({ kind: 'workload', workload: randomWorkload(random, uid) });
    else if (random.chance(0.2)) updates.push({ kind: 'removeWorkload', uid });
  }
  for (const namespace of clientNamespaces) {
    for (const name of ['one', 'two']) {
      if (random.chance(0.3)) updates.push({ kind: 'route', route: randomRoute(random, namespace, name) });
      else if (random.chance(0.4)) updates.push({ kind: 'removeRoute', key: `${namespace}/${name}` });
    }
  }
  return updates;
}

function randomRoute(random: Random, namespace: string, name: string): Route {
  const isUnsupported = random.chance(0.1);
  const rules = () => {
    if (random.chance(0.2)) return undefined;
    return isUnsupported ? [] : Array.from({ length: 1 + random.below(2) }, () => randomRule(random));
  };
  return {
    namespace,
    name,
    hosts: [random.pick(hostnames)],
    exportTo: random.pick([[], [], ['*'], ['.'], [random.pick(clientNamespaces)]]),
    isGatewayApi: random.chance(0.6),
    createdAt: random.below(3),
    tcp: rules(),
    http: rules(),
    unsupported: isUnsupported ? 'a part' : undefined,
  };
}

function randomRule(random: Random): RouteRule {
  return {
    matches: random.chance(0.7)
      ? []
      : [
          {
            ...(random.chance(0.5) ? { port: random.pick(ports) } : {}),
            ...(random.chance(0.5) ? { sourceNamespace: random.pick(clientNamespaces) } : {}),
          },
        ],
    backends: Array.from({ length: random.below(4) }, () => ({
      hostname: random.pick([...hostnames, 'gone.test', '']),
      port: random.pick([undefined, undefined, ...ports]),
      weight: random.below(4),
    })),
  };
}

function randomService(random: Random, namespace: string, hostname: string): Service {
  const vips = Array.from({ length: 1 + random.below(2) }, () => ({
    network: random.chance(0.1) ? 'far' : '',
    ip: random.pick(vipPool),
  }));
  const cidrVips: NetworkCidr[] = random.chance(0.2) ? [{ network: '', cidr: random.pick(cidrPool) }] : [];
  const declared = ports.filter(() => random.chance(0.85));
  return service({
    hostname,
    namespace,
    vips,
    cidrVips,
    ports: new Map(declared.map((port) => [port, random.chance(0.2) ? 0 : 1000 + random.below(4)])),
    canonical: random.chance(0.3),
    visibility: random.chance(0.3) ? 'Namespace' : 'Public',
    ipFamilies: random.pick([undefined, undefined, 'Dual', 'IPv4', 'IPv6']),
    waypoint: random.chance(0.04) ? randomGateway(random) : undefined,
    httpPorts: new Set(declared.filter(() => random.chance(0.2))),
    loadBalancer: random.chance(0.5)
      ? {
          mode: random.pick(modes),
          healthPolicy: random.pick(['OnlyHealthy', 'AllowAll']),
          routingPreferences: scopes.filter(() => random.chance(0.4)),
        }
      : undefined,
  });
}

function randomWorkload(random: Random, uid: string): Workload {
  const services = new Map<string, Map<number, number>>();
  for (const namespace of clientNamespaces) {
    for (const hostname of hostnames) {
      if (!random.chance(0.45)) continue;
      const mapped = ports.filter(() => random.chance(0.3));
      services.set(`${namespace}/${hostname}`, new Map(mapped.map((port) => [port, 2000 + random.below(4)])));
    }
  }
  return workload({
    uid,
    namespace: random.pick(clientNamespaces),
    addresses: [
      ...new Set(
        Array.from({ length: 1 + random.below(3) }, () =>
          random.pick(random.chance(0.01) ? vipPool : workloadPool),
        ),
      ),
    ],
    hostname: random.chance(0.05) ? 'resolved.test' : '',
    network: random.chance(0.06) ? 'far' : '',
    protocol: random.chance(0.06) ? 'HBONE' : 'TCP',
    waypoint: random.chance(0.06) ? randomGateway(random) : undefined,
    networkGateway: random.chance(0.1) ? randomGateway(random) : undefined,
    node: random.pick(['node-1', 'node-2']),
    clusterId: random.pick(['Kubernetes', 'other']),
    locality: {
      region: random.pick(['r1', 'r2']),
      zone: random.pick(['z1', 'z2']),
      subzone: random.pick(['', 's1']),
    },
    networkMode: random.chance(0.05) ? 'HostNetwork' : 'Standard',
    status: random.chance(0.15) ? 'Unhealthy' : 'Healthy',
    capacity: random.below(5),
    services,
  });
}

function randomGateway(random: Random): GatewayAddress {
  return {
    destination: { kind: 'address', network: '', ip: random.pick(workloadPool) },
    hboneMtlsPort: 15008,
  };
}
