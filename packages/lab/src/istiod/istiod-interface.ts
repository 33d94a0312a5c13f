import type { MeshUpdate } from '@kmesh/api';
import type { Authority } from '../pki/authority.ts';
import type { CertificateSettings, RecordedCertificateRequest } from './certificate-service.ts';
import type { RecordedRequest } from './delta-stream.ts';
import type { IstiodFaults } from './faults.ts';
import type { CallerIdentity } from './node-check.ts';
import type { StoredResource } from './resource-store.ts';

export interface FakeIstiodOptions {
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** Port of the TLS listener (xDS and certificates). Default: a free one. */
  readonly port?: number;
  /** Port of the plaintext listener (xDS only). Default: a free one. */
  readonly plaintextPort?: number;
  /** Names and addresses of the server certificate. Default istiod's in-cluster names, localhost and `host`. */
  readonly serverNames?: readonly string[];
  readonly serverIps?: readonly string[];
  /** The accepted bearer token. Default: a random one. */
  readonly token?: string;
  /** Identity of the token's owner. Default `istio-system/ztunnel`. */
  readonly caller?: CallerIdentity;
  readonly trustDomain?: string;
  /** The mesh's root; it also signs the server certificate until {@link FakeIstiod.rotateServerRoot}. */
  readonly authority?: Authority;
  readonly mesh?: readonly MeshUpdate[];
  readonly certificates?: Partial<CertificateSettings>;
  /** Longest request, as gRPC limits it. Default 4 MiB, istiod's own. */
  readonly maximumRequestBytes?: number;
}

/** One open xDS stream. */
export interface ConnectedStream {
  readonly id: number;
  readonly nodeId: string | undefined;
  readonly typeUrls: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  /** Responses not answered yet. */
  readonly outstanding: number;
}

/** A running fake control plane. See `startFakeIstiod`. */
export interface FakeIstiod {
  readonly xdsAddress: string;
  readonly caAddress: string;
  readonly plaintextXdsAddress: string;
  /** Root of the server certificate. */
  readonly rootPem: string;
  readonly token: string;
  /** Signs workload certificates. */
  readonly authority: Authority;
  /** Behaviour of the certificate service; assign to change it. */
  readonly certificates: CertificateSettings;
  readonly faults: IstiodFaults;
  /** Every xDS request, in order of arrival. */
  readonly requests: readonly RecordedRequest[];
  readonly certificateRequests: readonly RecordedCertificateRequest[];
  /** Maximum number of concurrent certificate calls so far. */
  readonly certificateCallsAtOnce: number;
  /** Protocol violations of clients. */
  readonly violations: readonly string[];
  readonly connections: readonly ConnectedStream[];
  /** TCP connections accepted on the TLS port so far. */
  readonly acceptedConnections: number;
  /** Changes the mesh and pushes the difference: Address first, then Authorization. */
  update(changes: readonly MeshUpdate[]): void;
  /** Puts any resource into the mesh and pushes it. */
  putResource(typeUrl: string, resource: StoredResource): void;
  removeResource(typeUrl: string, name: string): void;
  /** Replaces the accepted token. Open streams continue. */
  setToken(token: string): void;
  /** Returns a token of another caller, accepted in addition to the first: a pod in dedicated mode. */
  tokenFor(caller: CallerIdentity): string;
  /** A new control-plane root and server certificate for new connections; returns the new root. */
  rotateServerRoot(): Promise<string>;
  /** Polls until `condition` holds. Fails after `milliseconds` (default 5 s) with `what` in the message. */
  waitFor(what: string, condition: () => boolean, milliseconds?: number): Promise<void>;
  /** Waits until `clients` streams (default 1) watch both types and each of them has answered every response. */
  waitForSettled(milliseconds?: number, clients?: number): Promise<void>;
  /** Throws when a client has broken the protocol. */
  assertNoViolations(): void;
  /** Stops everything; throws when a client has broken the protocol. */
  close(): Promise<void>;
}
