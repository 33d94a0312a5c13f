import type { ConnectionStart, ResponseFlag, RoutedConnection } from '../connection.ts';
import { destinationPeer, type PeerLabels, sourcePeer } from './peer.ts';

type Values = readonly string[];

/** Returns the values of set T in order (ambient contract 15.2, 17): 23 if neither peer is known, else 27. */
export function trafficLabels(start: ConnectionStart, flag: ResponseFlag): Values {
  const source = sourcePeer(start);
  const destination = destinationPeer(start);
  const values = [
    start.reporter,
    ...peerValues(source, 'unknown'),
    ...serviceValues(start, 'unknown'),
    ...peerValues(destination, 'unknown'),
    'tcp',
    flag,
    start.securityPolicy,
  ];
  if (!source.known && !destination.known) return values;
  for (const place of [source.region, source.zone, destination.region, destination.zone]) {
    values.push(place ?? 'unknown');
  }
  return values;
}

/**
 * Returns the values of set W in order; unknown ones are `-`. The pod's address is set only if the pod is known: an
 * address alone would create one series per peer of the whole internet.
 */
export function workloadLabels(start: ConnectionStart, flag: ResponseFlag): Values {
  const pod = start.destination;
  return [
    start.reporter,
    ...peerValues(sourcePeer(start), '-'),
    pod?.addresses[0] ?? '-',
    pod?.namespace || '-',
    pod?.name || '-',
    ...peerValues(destinationPeer(start), '-'),
    'tcp',
    flag,
    start.securityPolicy === 'unknown' ? '-' : start.securityPolicy,
  ];
}

/** Returns the values of set S in order; unknown ones are `-`. */
export function serviceLabels(start: ConnectionStart, flag: ResponseFlag): Values {
  return [
    start.reporter,
    ...peerValues(sourcePeer(start), '-'),
    ...serviceValues(start, '-'),
    ...peerValues(destinationPeer(start), '-'),
    'tcp',
    flag,
    start.securityPolicy === 'unknown' ? '-' : start.securityPolicy,
  ];
}

/** Returns the values of the round-trip histogram, in order. */
export function roundTripLabels(start: ConnectionStart): Values {
  const source = sourcePeer(start);
  const destination = destinationPeer(start);
  return [
    start.reporter,
    source.workload ?? '-',
    source.namespace ?? '-',
    destination.workload ?? '-',
    destination.namespace ?? '-',
  ];
}

/** Returns the values of the route tables, in order. */
export function routeLabels({ route, service, port, backend }: RoutedConnection): Values {
  return [route, service.hostname, service.namespace, service.name, String(port), backend || '-'];
}

function peerValues(peer: PeerLabels, missing: string): string[] {
  return [
    peer.workload ?? missing,
    peer.canonicalService ?? missing,
    peer.canonicalRevision ?? missing,
    peer.namespace ?? missing,
    peer.principal ?? missing,
    peer.app ?? missing,
    peer.version ?? missing,
    peer.cluster ?? missing,
  ];
}

function serviceValues(start: ConnectionStart, missing: string): string[] {
  const service = start.destinationService;
  return [service?.hostname || missing, service?.namespace || missing, service?.name || missing];
}
