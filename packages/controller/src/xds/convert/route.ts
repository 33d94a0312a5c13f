import { type Route, type RouteBackend, type RouteMatch, type RouteRule, routeProto } from '@kmesh/api';
import { rejected } from './common.ts';

const typeUrl = 'type.googleapis.com/istio.networking.v1alpha3.VirtualService';
/** Entry of `gateways`: the route applies to clients in the mesh, not only to gateways. */
const meshGateway = 'mesh';
/** Annotation, with the value `gateway`, of routes that the control plane generated from the Gateway API. */
const semanticsAnnotation = 'internal.istio.io/route-semantics';
const maximumPort = 65_535;

/** Ends the conversion of the rules; the message is the reason why the route is not applied. */
class Unsupported extends Error {}

/**
 * Converts a `VirtualService` in its envelope to a record of the mesh model (docs/routes.md). A feature that a split of
 * connections cannot express makes the whole route unsupported.
 *
 * @param clusterDomain completes host names without a dot
 * @throws KMESH_XDS_RESOURCE_REJECTED with the reason.
 */
export function convertRoute(payload: Buffer, resourceName: string, clusterDomain: string): Route {
  const { metadata, body } = routeProto.Resource.decode(payload);
  const [namespace = '', name = '', ...more] = resourceName.split('/');
  if (namespace === '' || name === '' || more.length > 0) {
    throw rejected(`the name ${JSON.stringify(resourceName)} is not namespace/name`);
  }
  if (!body) throw rejected('body is missing');
  if (body.typeUrl !== typeUrl) throw rejected(`body has the type ${body.typeUrl}, not ${typeUrl}`);
  const spec = Buffer.from(body.value ?? new Uint8Array());
  const message: routeProto.VirtualService = routeProto.VirtualService.decodeKeepingUnknown(spec);
  const gateways = message.gateways ?? [];
  const names: Names = {
    namespace,
    clusterDomain,
    isGatewayApi: metadata?.annotations?.[semanticsAnnotation] === 'gateway',
    inMesh: gateways.length === 0 || gateways.includes(meshGateway),
  };
  const http = concerningMesh(message.http, names);
  const tcp = concerningMesh(message.tcp, names);
  const tls = message.tls ?? [];
  const concernsMesh = names.inMesh || http.length + tcp.length > 0;
  const rules = concernsMesh ? rulesOf(message, http, tcp, names) : { unsupported: 'it is for gateways' };
  const isUnsupported = rules.unsupported !== undefined;
  return {
    namespace,
    name,
    hosts: concernsMesh ? (message.hosts ?? []).map((host) => fullName(host, names)) : [],
    exportTo: message.exportTo ?? [],
    isGatewayApi: names.isGatewayApi,
    createdAt: metadata?.createTime?.seconds ?? 0,
    // An unsupported route keeps its hosts and kinds of rules, so that no other route takes its place.
    tcp: isUnsupported ? (tcp.length + tls.length > 0 ? [] : undefined) : rules.tcp,
    http: isUnsupported ? (http.length > 0 ? [] : undefined) : rules.http,
    unsupported: rules.unsupported,
  };
}

interface Names {
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly isGatewayApi: boolean;
  /** Whether rules without `gateways` apply to clients in the mesh. */
  readonly inMesh: boolean;
}

interface Rules {
  readonly tcp?: readonly RouteRule[];
  readonly http?: readonly RouteRule[];
  readonly unsupported?: string;
}

function rulesOf(
  message: routeProto.VirtualService,
  http: readonly routeProto.HTTPRoute[],
  tcp: readonly routeProto.TCPRoute[],
  names: Names,
): Rules {
  try {
    if (hasUnknown(message)) throw new Unsupported('it has a field that this version does not know');
    if ((message.tls ?? []).length > 0) throw new Unsupported('it has rules for TLS server names (tls)');
    const wildcard = (message.hosts ?? []).find((host) => host.startsWith('*'));
    if (wildcard !== undefined) throw new Unsupported(`its host ${wildcard} is a wildcard`);
    return {
      ...(tcp.length === 0 ? {} : { tcp: tcp.map((rule) => tcpRule(rule, names)) }),
      ...(http.length === 0 ? {} : { http: http.map((rule) => httpRule(rule, names)) }),
    };
  } catch (error) {
    if (error instanceof Unsupported) return { unsupported: error.message };
    throw error;
  }
}

interface WireMatch {
  readonly gateways?: readonly string[] | null;
}

/** Returns the rules, each with its matches, that apply to clients in the mesh; those for gateways are dropped. */
function concerningMesh<T extends { readonly match?: readonly WireMatch[] | null }>(
  rules: readonly T[] | null | undefined,
  { inMesh }: Names,
): T[] {
  const kept: T[] = [];
  for (const rule of rules ?? []) {
    const wire = rule.match ?? [];
    const match = wire.filter(({ gateways }) => (gateways?.length ? gateways.includes(meshGateway) : inMesh));
    // In place, so that the message keeps its unknown fields.
    if (wire.length === 0 ? inMesh : match.length > 0) kept.push(Object.assign(rule, { match }));
  }
  return kept;
}

function tcpRule(rule: routeProto.TCPRoute, names: Names): RouteRule {
  onlyKnown('tcp', rule);
  const matches = (rule.match ?? []).map((match): RouteMatch => {
    onlyKnown('tcp.match', match);
    const { port, sourceNamespace, gateways, ...others } = match as routeProto.L4MatchAttributes &
      Record<string, unknown>;
    refuseFields('tcp.match', others);
    return matchOf('tcp.match', match);
  });
  const route = rule.route ?? [];
  for (const entry of route) onlyKnown('tcp.route', entry);
  return { matches, backends: backendsOf('tcp.route', route, names) };
}

function httpRule(rule: routeProto.HTTPRoute, names: Names): RouteRule {
  onlyKnown('http', rule);
  const { match, route, directResponse, name, ...rest } = rule as routeProto.HTTPRoute &
    Record<string, unknown>;
  // The remaining fields act on requests.
  refuseFields('http', rest);
  const matches = (match ?? []).map((entry) => {
    onlyKnown('http.match', entry);
    const { uri, port, gateways, ignoreUriCase, name, sourceNamespace, statPrefix, ...others } =
      entry as routeProto.HTTPMatchRequest & Record<string, unknown>;
    refuseFields('http.match', others);
    if (uri) {
      onlyKnown('http.match.uri', uri);
      // A Gateway API route without a match has the prefix `/`, which matches every path.
      if (uri.prefix !== '/') throw new Unsupported('http.match.uri');
    }
    return matchOf('http.match', entry);
  });
  const backends = route ?? [];
  // The control plane's encoding of a Gateway API route without a weighted backend.
  if (names.isGatewayApi && isPresent(directResponse) && backends.length === 0) {
    return { matches, backends: [] };
  }
  refuseFields('http', { directResponse });
  for (const entry of backends) {
    onlyKnown('http.route', entry);
    refuseFields('http.route', { headers: entry.headers });
  }
  return { matches, backends: backendsOf('http.route', backends, names) };
}

function matchOf(
  field: string,
  { port, sourceNamespace }: Pick<routeProto.L4MatchAttributes, 'port' | 'sourceNamespace'>,
): RouteMatch {
  if ((port ?? 0) > maximumPort) throw rejected(`${field}.port ${port} is above ${maximumPort}`);
  return {
    ...(port ? { port } : {}),
    ...(sourceNamespace ? { sourceNamespace } : {}),
  };
}

function backendsOf(
  field: string,
  entries: readonly routeProto.RouteDestination[],
  names: Names,
): RouteBackend[] {
  if (entries.length === 0) throw new Unsupported(`${field} is empty`);
  const [first] = entries;
  // The control plane's encoding of a TCPRoute whose weights are all 0.
  if (first?.destination?.subset === 'zero-weight' && first.destination.host === 'internal.cluster.local') {
    return [];
  }
  return entries.map(({ destination, weight: wireWeight }) => {
    const weight = wireWeight ?? 0;
    if (weight < 0) throw rejected(`${field}.weight ${weight} is negative`);
    if (destination) onlyKnown(`${field}.destination`, destination);
    if (destination?.port) onlyKnown(`${field}.destination.port`, destination.port);
    refuseFields(`${field}.destination`, { subset: destination?.subset });
    const port = destination?.port?.number;
    if ((port ?? 0) > maximumPort) {
      throw rejected(`${field}.destination.port ${port} is above ${maximumPort}`);
    }
    const host = destination?.host ?? '';
    return {
      hostname: host === '' ? '' : fullName(host, names),
      port: port || undefined,
      // The control plane omits the weight of a single destination.
      weight: entries.length === 1 ? weight || 1 : weight,
    };
  });
}

function fullName(host: string, { namespace, clusterDomain }: Names): string {
  return host.includes('.') || host === '*' ? host : `${host}.${namespace}.svc.${clusterDomain}`;
}

/** @throws Unsupported when one of the fields is set. */
function refuseFields(message: string, fields: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(fields)) {
    if (isPresent(value)) throw new Unsupported(`${message}.${name}`);
  }
}

function isPresent(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return value !== null && value !== undefined && value !== '' && value !== false;
}

function onlyKnown(field: string, message: object): void {
  if (hasUnknown(message)) throw new Unsupported(`${field} has a field that this version does not know`);
}

function hasUnknown(message: object): boolean {
  return (message as { readonly $unknowns?: readonly Uint8Array[] }).$unknowns !== undefined;
}
