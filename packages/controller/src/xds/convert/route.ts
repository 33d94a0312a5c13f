import { type Route, type RouteBackend, type RouteMatch, type RouteSection, routeProto } from '@kmesh/api';
import { rejected } from './common.ts';

const typeUrl = 'type.googleapis.com/istio.networking.v1alpha3.VirtualService';
/** In `gateways`: the route concerns clients in the mesh, and not only those of gateways. */
const meshGateway = 'mesh';
/** Annotation of routes that the control plane made from those of the Gateway API, with the value `gateway`. */
const semanticsAnnotation = 'internal.istio.io/route-semantics';
const maximumPort = 65_535;

type Section = Extract<RouteSection, { readonly unsupported: string }>;

/** Ends the conversion of a section: it is not applied, for this reason. */
class Unsupported extends Error {}

/**
 * Converts a `VirtualService` in its envelope to a record of the mesh model (docs/routes.md). Whatever a split of connections
 * cannot express makes its section unsupported as a whole.
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
  const message = routeProto.VirtualService.decodeKeepingUnknown(Buffer.from(body.value ?? new Uint8Array()));
  const isGatewayApi = metadata?.annotations?.[semanticsAnnotation] === 'gateway';
  const names: Names = { namespace, clusterDomain, isGatewayApi };
  const gateways = message.gateways ?? [];
  const inMesh = gateways.length === 0 || gateways.includes(meshGateway);
  const http = message.http ?? [];
  const tcp = message.tcp ?? [];
  const whole = problemOfWhole(message);
  return {
    namespace,
    name,
    hosts: inMesh ? (message.hosts ?? []).map((host) => fullName(host, names)) : [],
    exportTo: message.exportTo ?? [],
    isGatewayApi,
    createdAt: metadata?.createTime?.seconds ?? 0,
    tcp: whole ?? (tcp.length === 0 ? undefined : section(() => tcp.map((rule) => tcpRule(rule, names)))),
    http: whole ?? (http.length === 0 ? undefined : section(() => http.map((rule) => httpRule(rule, names)))),
  };
}

interface Names {
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly isGatewayApi: boolean;
}

function problemOfWhole(message: routeProto.VirtualService): Section | undefined {
  if (hasUnknown(message)) return { unsupported: 'it has a field that this version does not know' };
  if ((message.tls ?? []).length > 0) return { unsupported: 'it has rules for TLS server names (tls)' };
  const wildcard = (message.hosts ?? []).find((host) => host.startsWith('*'));
  return wildcard === undefined ? undefined : { unsupported: `its host ${wildcard} is a wildcard` };
}

function section(rules: () => RouteSectionRules): RouteSection {
  try {
    return { rules: rules() };
  } catch (error) {
    if (error instanceof Unsupported) return { unsupported: error.message };
    throw error;
  }
}

type RouteSectionRules = Extract<RouteSection, { readonly unsupported?: undefined }>['rules'];

function tcpRule(rule: routeProto.TCPRoute, names: Names): RouteSectionRules[number] {
  onlyKnown('tcp', rule);
  const matches = (rule.match ?? []).map((match): RouteMatch => {
    onlyKnown('tcp.match', match);
    refuseField('tcp.match.destinationSubnets', match.destinationSubnets);
    refuseField('tcp.match.sourceSubnet', match.sourceSubnet);
    refuseField('tcp.match.sourceLabels', match.sourceLabels);
    return matchOf('tcp.match', match);
  });
  const route = rule.route ?? [];
  for (const entry of route) onlyKnown('tcp.route', entry);
  return { matches: inMesh(rule.match ?? [], matches), backends: backendsOf('tcp.route', route, names) };
}

function httpRule(rule: routeProto.HTTPRoute, names: Names): RouteSectionRules[number] {
  onlyKnown('http', rule);
  const { match, route, name: _name, ...rest } = rule as routeProto.HTTPRoute & Record<string, unknown>;
  // All that is left are things done to requests.
  for (const [field, value] of Object.entries(rest)) refuseField(`http.${field}`, value);
  const matches = (match ?? []).map((entry) => {
    onlyKnown('http.match', entry);
    const { uri, port, gateways, ignoreUriCase, name, sourceNamespace, statPrefix, ...others } =
      entry as routeProto.HTTPMatchRequest & Record<string, unknown>;
    for (const [field, value] of Object.entries(others)) refuseField(`http.match.${field}`, value);
    if (uri) {
      onlyKnown('http.match.uri', uri);
      // What a route of the Gateway API without a match has: every path begins so.
      if (uri.prefix !== '/') throw new Unsupported('http.match.uri');
    }
    return matchOf('http.match', entry);
  });
  const backends = route ?? [];
  for (const entry of backends) {
    onlyKnown('http.route', entry);
    refuseField('http.route.headers', entry.headers);
  }
  return { matches: inMesh(match ?? [], matches), backends: backendsOf('http.route', backends, names) };
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

/** The matches that concern clients in the mesh; where none is left, one that no connection meets. */
function inMesh(
  wire: readonly Pick<routeProto.L4MatchAttributes, 'gateways'>[],
  matches: readonly RouteMatch[],
): readonly RouteMatch[] {
  const kept = matches.filter((_match, index) => {
    const gateways = wire[index]?.gateways ?? [];
    return gateways.length === 0 || gateways.includes(meshGateway);
  });
  return matches.length > 0 && kept.length === 0 ? [{ port: 0 }] : kept;
}

function backendsOf(
  field: string,
  entries: readonly routeProto.RouteDestination[],
  names: Names,
): RouteBackend[] {
  if (entries.length === 0) throw new Unsupported(`${field} is empty`);
  const [first] = entries;
  // What the control plane writes for a route of the Gateway API whose weights are all 0.
  if (first?.destination?.subset === 'zero-weight' && first.destination.host === 'internal.cluster.local') {
    return [];
  }
  return entries.map(({ destination, weight: wireWeight }) => {
    const weight = wireWeight ?? 0;
    if (weight < 0) throw rejected(`${field}.weight ${weight} is negative`);
    if (destination) onlyKnown(`${field}.destination`, destination);
    if (destination?.port) onlyKnown(`${field}.destination.port`, destination.port);
    refuseField(`${field}.destination.subset`, destination?.subset);
    const port = destination?.port?.number;
    if ((port ?? 0) > maximumPort) {
      throw rejected(`${field}.destination.port ${port} is above ${maximumPort}`);
    }
    const host = destination?.host ?? '';
    return {
      hostname: host === '' ? '' : fullName(host, names),
      port: port || undefined,
      // The only destination of a VirtualService needs no weight.
      weight: entries.length === 1 && !names.isGatewayApi ? weight || 1 : weight,
    };
  });
}

function fullName(host: string, { namespace, clusterDomain }: Names): string {
  return host.includes('.') || host === '*' ? host : `${host}.${namespace}.svc.${clusterDomain}`;
}

/** @throws Unsupported when a field is there. */
function refuseField(field: string, value: unknown): void {
  const isAbsent =
    value === null ||
    value === undefined ||
    value === '' ||
    value === false ||
    (Array.isArray(value) && value.length === 0);
  if (!isAbsent) throw new Unsupported(field);
}

function onlyKnown(field: string, message: object): void {
  if (hasUnknown(message)) throw new Unsupported(`${field} has a field that this version does not know`);
}

function hasUnknown(message: object): boolean {
  return (message as { readonly $unknowns?: readonly Uint8Array[] }).$unknowns !== undefined;
}
