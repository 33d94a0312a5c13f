import type { Identity, Workload } from '@kmesh/api';
import type { ConnectionStart, DerivedWorkload } from '../connection.ts';

/** One side of a connection as labels; `undefined` for unknown values. */
export interface PeerLabels {
  readonly workload: string | undefined;
  readonly canonicalService: string | undefined;
  readonly canonicalRevision: string | undefined;
  readonly namespace: string | undefined;
  readonly principal: string | undefined;
  readonly app: string | undefined;
  readonly version: string | undefined;
  readonly cluster: string | undefined;
  readonly region: string | undefined;
  readonly zone: string | undefined;
  /** False when neither a resource nor baggage describes this side. */
  readonly known: boolean;
}

/** Returns the `spiffe://` form of an identity. */
export function spiffeUri(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/**
 * Returns the client's labels (ambient contract 17): baggage first, then the resource overwrites all of it; the
 * principal comes only from TLS or the kernel's attestation, never from the resource.
 */
export function sourcePeer(start: ConnectionStart): PeerLabels {
  const principal = start.sourceIdentity && spiffeUri(start.sourceIdentity);
  if (start.source) return fromResource(start.source, principal);
  return fromBaggage(start.derivedSource, principal);
}

/**
 * Returns the server's labels (ambient contract 17): the resource and its identity even for plain TCP; for double HBONE
 * the inner response's baggage and the inner TLS identity replace them.
 */
export function destinationPeer(start: ConnectionStart): PeerLabels {
  const proven = start.destinationIdentity && spiffeUri(start.destinationIdentity);
  if (start.derivedDestination) return fromBaggage(start.derivedDestination, proven);
  if (start.destination) return fromResource(start.destination, proven ?? spiffeUri(start.destination));
  return fromBaggage(undefined, proven);
}

function fromResource(workload: Workload, principal: string | undefined): PeerLabels {
  const canonicalService = known(workload.canonicalName);
  const canonicalRevision = known(workload.canonicalRevision);
  return {
    workload: known(workload.workloadName),
    canonicalService,
    canonicalRevision,
    namespace: known(workload.namespace),
    principal,
    app: canonicalService,
    version: canonicalRevision,
    cluster: known(workload.clusterId),
    region: known(workload.locality.region),
    zone: known(workload.locality.zone),
    known: true,
  };
}

function fromBaggage(derived: DerivedWorkload | undefined, principal: string | undefined): PeerLabels {
  return {
    workload: known(derived?.workloadName),
    canonicalService: known(derived?.serviceName),
    canonicalRevision: known(derived?.serviceVersion),
    namespace: known(derived?.namespace),
    principal,
    app: known(derived?.workloadName),
    version: known(derived?.serviceVersion),
    cluster: known(derived?.cluster),
    region: known(derived?.region),
    zone: known(derived?.zone),
    known: derived !== undefined,
  };
}

function known(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
