import type { Service, Workload } from '@kmesh/api';
import { defaultSearchDomains, nameRecordOf, resolveName } from '@kmesh/dns';
import { canonicalIp, ipFamily, type MeshState, type SocketTarget } from '@kmesh/orchestration';
import { badQuery } from './guard.ts';

/** The connection that a request to `/kmesh/why` asks about. */
export interface WhySubject {
  readonly source: Workload;
  readonly clientIp: string;
  readonly target: SocketTarget;
  /** How names in the request were resolved; empty when both were addresses. */
  readonly notes: readonly string[];
}

interface Network {
  readonly network: string;
  readonly clusterDomain: string;
  /** The DNS proxy's settings; by default no preference and both families. */
  readonly preferredNamespace?: string | undefined;
  readonly ipv6?: boolean;
}

const assumedPort = 80;

/**
 * Resolves the client and the dialled address of a request.
 *
 * @param source `namespace/name` of a pod, or its IP
 * @param destination an IP, `namespace/name` of a service or pod, or a host name; each may end in `:port`
 * @throws KMESH_QUESTION naming what is allowed
 */
export function whySubject(state: MeshState, node: Network, source: string, destination: string): WhySubject {
  const workload = findSource(state, node, source);
  const clientIp = canonicalIp(source) ?? workload.addresses[0];
  if (clientIp === undefined) {
    throw badQuery(`${source} has no address yet, so its connections cannot be explained`);
  }
  const { name, port } = splitPort(destination);
  const notes: string[] = [];
  const ip = canonicalIp(name);
  if (ip !== undefined) {
    return { source: workload, clientIp, target: { ip, port: port ?? assume(notes, assumedPort) }, notes };
  }
  const answer = name.includes('/') ? undefined : lookUp(state, node, workload, { name, clientIp });
  if (answer !== undefined) notes.push(describeAnswer(name, answer));
  const [address] = answer?.addresses ?? [];
  if (answer?.record.endpoints !== undefined && address !== undefined) {
    return {
      source: workload,
      clientIp,
      target: { ip: address, port: port ?? assume(notes, assumedPort) },
      notes,
    };
  }
  const found = answer === undefined ? findNamed(state, workload, name) : state.service(answer.record.key);
  if (found === undefined) {
    throw badQuery(
      `nothing in the mesh is called ${name}: give an IP, namespace/name of a service or pod, or a host name, ` +
        'optionally with :port. Other names are resolved by the resolvers of the pod, which are not queried here',
    );
  }
  const target =
    'vips' in found
      ? serviceTarget(found, name, port, clientIp, node, notes)
      : workloadTarget(found, name, port, clientIp, notes);
  return { source: workload, clientIp, target, notes };
}

function findSource(state: MeshState, node: Network, text: string): Workload {
  const ip = canonicalIp(text);
  if (ip !== undefined) {
    const workload = state.workloadByAddress(node.network, ip);
    if (workload !== undefined) return workload;
    throw badQuery(`no workload of the mesh has the address ${ip}; kmeshctl workloads lists them`);
  }
  if (!/^[^/]+\/[^/]+$/.test(text)) {
    throw badQuery(
      `the source "${text}" is neither namespace/name of a pod nor an IP, for instance shop/cart-1 or 10.0.0.7`,
    );
  }
  const workload = workloadNamed(state, text);
  if (workload !== undefined) return workload;
  throw badQuery(`no workload is called ${text}; kmeshctl workloads lists them`);
}

/**
 * Returns the DNS proxy's answer to the pod for its own address family, or for the other one if that has no address.
 */
function lookUp(
  state: MeshState,
  node: Network,
  source: Workload,
  { name, clientIp }: { readonly name: string; readonly clientIp: string },
): ReturnType<typeof resolveName> {
  const clusterDomain = node.clusterDomain.toLowerCase();
  const names = {
    recordsOf: (hostname: string) =>
      state
        .servicesByHostname(hostname)
        .flatMap((service) => nameRecordOf(state, service, clusterDomain) ?? []),
  };
  const context = {
    ...{ clusterDomain, namespace: source.namespace, network: source.network },
    search: defaultSearchDomains(source.namespace, clusterDomain),
    preferredNamespace: node.preferredNamespace,
    ipv6: node.ipv6 ?? true,
  };
  const hostname = name.replace(/\.$/, '').toLowerCase();
  const [first, second] = ipFamily(clientIp) === 6 ? (['AAAA', 'A'] as const) : (['A', 'AAAA'] as const);
  const answer = resolveName(names, context, hostname, first);
  if (answer === undefined || answer.addresses.length > 0) return answer;
  return resolveName(names, context, hostname, second);
}

const listedAddresses = 8;

function describeAnswer(name: string, answer: NonNullable<ReturnType<typeof resolveName>>): string {
  const { record, matched, cname, addresses } = answer;
  const how = matched === name ? '' : `, found as ${matched}`;
  const alias = cname === undefined ? '' : `, by a CNAME to ${cname}`;
  const more = addresses.length > listedAddresses ? `, and ${addresses.length - listedAddresses} more` : '';
  const list = addresses.slice(0, listedAddresses).join(', ') || 'no address';
  return `DNS: the mesh answers ${name} from service ${record.key}${how}${alias}: ${list}${more}`;
}

/** Finds a service or workload by `namespace/name`, or a workload by host name. */
function findNamed(state: MeshState, source: Workload, name: string): Service | Workload | undefined {
  const slash = name.indexOf('/');
  if (slash > 0) {
    const [namespace, rest] = [name.slice(0, slash), name.slice(slash + 1)];
    for (const service of state.services()) {
      if (service.namespace === namespace && (service.name === rest || service.hostname === rest))
        return service;
    }
    return workloadNamed(state, name);
  }
  return state.workloadByHostname(source.namespace, name.replace(/\.$/, '').toLowerCase());
}

function serviceTarget(
  service: Service,
  name: string,
  port: number | undefined,
  clientIp: string,
  node: Network,
  notes: string[],
): SocketTarget {
  const own = service.vips.filter(({ network }) => network === node.network);
  const vip = own.find(({ ip }) => ipFamily(ip) === ipFamily(clientIp)) ?? own[0];
  const key = `${service.namespace}/${service.hostname}`;
  if (vip === undefined) {
    const why =
      service.vips.length > 0 ? `has no address on network "${node.network}"` : 'has no address of its own';
    throw badQuery(
      `service ${key} ${why}: clients dial its endpoints or a range; ask with one of those addresses`,
    );
  }
  notes.push(`${name} is service ${key} at ${vip.ip}`);
  const declared = [...service.ports.keys()];
  const [first] = declared;
  if (port !== undefined) return { ip: vip.ip, port };
  if (first === undefined) return { ip: vip.ip, port: assume(notes, assumedPort) };
  notes.push(
    `no port was given: ${first} is assumed${declared.length > 1 ? `, of ${declared.join(', ')}` : ''}`,
  );
  return { ip: vip.ip, port: first };
}

function workloadTarget(
  workload: Workload,
  name: string,
  port: number | undefined,
  clientIp: string,
  notes: string[],
): SocketTarget {
  const { addresses } = workload;
  const ip = addresses.find((address) => ipFamily(address) === ipFamily(clientIp)) ?? addresses[0];
  if (ip === undefined) throw badQuery(`workload ${name} has no address; ask with its service or host name`);
  notes.push(`${name} is workload ${workload.uid} at ${ip}`);
  return { ip, port: port ?? assume(notes, assumedPort) };
}

function workloadNamed(state: MeshState, text: string): Workload | undefined {
  const [namespace, name] = text.split('/');
  for (const workload of state.workloads()) {
    if (workload.name === name && workload.namespace === namespace) return workload;
  }
  return undefined;
}

function splitPort(text: string): { name: string; port: number | undefined } {
  const bracketed = /^\[(?<name>[^\]]+)\](?::(?<port>.*))?$/.exec(text);
  const plain = /^(?<name>[^:]+):(?<port>[^:]*)$/.exec(text);
  const groups = bracketed?.groups ?? plain?.groups;
  const name = groups?.['name'] ?? text;
  if (name === '') throw badQuery('the destination is empty: give an IP, namespace/name or a host name');
  const portText = groups?.['port'];
  if (portText === undefined) return { name, port: undefined };
  const port = Number(portText);
  if (!/^\d+$/.test(portText) || port < 1 || port > 65_535) {
    throw badQuery(`"${portText}" is not a port: 1 to 65535 is allowed`);
  }
  return { name, port };
}

function assume(notes: string[], port: number): number {
  notes.push(`no port was given: ${port} is assumed`);
  return port;
}
