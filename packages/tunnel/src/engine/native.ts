import { KmeshError } from '@kmesh/api';
import { loadAddon } from '@kmesh/linux';

/** A running engine, or a TLS context; opaque. */
export interface TunnelHandle {
  readonly tunnel: unique symbol;
}

/** Settings of an engine; absent ones have the contract's defaults. Names contain the time units. */
export interface NativeTunnelConfig {
  streamWindow?: number;
  connectionWindow?: number;
  frameSize?: number;
  serverStreams?: number;
  pingIntervalMs?: number;
  pingTimeoutMs?: number;
  handshakeTimeoutMs?: number;
  stallMs?: number;
  mark?: number;
  /** 0 disables keepalive. */
  keepaliveTimeS?: number;
  keepaliveIntervalS?: number;
  keepaliveRetries?: number;
  userTimeoutMs?: number;
  /** Descriptor of the map `handoffs`, which the engine duplicates; absent: no hand-off. */
  handoffTable?: number;
  /** Descriptor of the map `picks`, likewise; absent: no endpoint was chosen before. */
  pickTable?: number;
}

/**
 * Receives events in batches. The first `count` of `numbers`, valid during the call, are records: type, id, five numbers, count of texts, and a reference
 * per text; references point to `texts` and `extras` (certificate chains, byte counts).
 */
type NativeTunnelHandler = (
  numbers: Float64Array,
  count: number,
  texts: readonly string[],
  extras: readonly NativeTunnelExtra[],
) => void;

export type NativeTunnelExtra = readonly Uint8Array[] | Float64Array;

/** Where and how the engine connects. */
export interface EngineConnect {
  /** Id of an added namespace; 0 is the process's own. */
  readonly namespace: number;
  readonly ip: string;
  readonly port: number;
  readonly timeoutMilliseconds: number;
}

/** How the engine connects a flow. */
export interface FlowConnect extends EngineConnect {
  /** Source address to keep; empty or absent for a local one. */
  readonly source?: string;
  readonly sourceRequired?: boolean;
  /** Whether the target is the pod's own application. */
  readonly withinPod?: boolean;
  /** Sent before the client's bytes. */
  readonly prefix?: Uint8Array | undefined;
  /** Fields of the 200 response to a request, alternating names and values, separated by NUL. */
  readonly responseFields?: string | undefined;
  /** Status of the response to a request when the connection fails. Absent: the flow is not a request. */
  readonly failureStatus?: number;
}

/** The byte engine of the tunnel path. Commands never fail: errors are reported as events. */
export interface NativeTunnel {
  /** Versions of the headers that the engine was compiled with. */
  readonly nghttp2Headers: string;
  readonly opensslHeaders: string;

  tunnelStart(config: NativeTunnelConfig, handler: NativeTunnelHandler): TunnelHandle | undefined;
  tunnelStop(engine: TunnelHandle): void;
  tunnelReference(engine: TunnelHandle, keepAlive: boolean): void;
  tunnelAddNamespace(engine: TunnelHandle, id: number, fd: number): void;
  tunnelRemoveNamespace(engine: TunnelHandle, id: number): void;
  tunnelAddListener(engine: TunnelHandle, id: number, fd: number, hbone: boolean, outbound: boolean): void;
  tunnelRemoveListener(engine: TunnelHandle, id: number): void;
  /** `plan` is the number of a plan of `version` for connections similar to the flow; 0: none. */
  tunnelFlowConnect(
    engine: TunnelHandle,
    flow: number,
    connect: FlowConnect,
    plan: number,
    version: number,
  ): void;
  /** Sets a plan for connections similar to the flow; call it before the flow is sent. */
  tunnelFlowPlan(
    engine: TunnelHandle,
    flow: number,
    plan: number,
    version: number,
    session: number,
    /** Maximum number of streams on the session. */
    streams: number,
    /** Fields of the request before the client's port, and after it. */
    before: string,
    after: string,
  ): void;
  /**
   * From now on only plans of `version` admit connections. Returns admitted connections without an event so far, seven
   * numbers each: flow, plan, client's port, milliseconds, 1 if it has ended, bytes up and down.
   */
  tunnelTakeBack(engine: TunnelHandle, version: number): readonly number[];
  tunnelFlowRequest(
    engine: TunnelHandle,
    flow: number,
    session: number,
    /** Alternating names and values, separated by NUL. */
    fields: string,
    report: boolean,
  ): void;
  tunnelFlowReject(engine: TunnelHandle, flow: number, status: number): void;
  tunnelFlowAbort(engine: TunnelHandle, flow: number): void;
  tunnelFlowLeave(engine: TunnelHandle, flow: number): void;
  tunnelSessionAccept(
    engine: TunnelHandle,
    session: number,
    context: TunnelHandle,
    trustDomain: string,
  ): void;
  /** Does not keep the source address. */
  tunnelSessionConnect(
    engine: TunnelHandle,
    session: number,
    connect: EngineConnect,
    context: TunnelHandle,
    identities: readonly string[],
  ): void;
  tunnelSessionNest(
    engine: TunnelHandle,
    session: number,
    carrier: number,
    /** Alternating names and values, separated by NUL. */
    fields: string,
    context: TunnelHandle,
    identities: readonly string[],
  ): void;
  tunnelSessionDrain(engine: TunnelHandle, session: number): void;
  tunnelSessionAbort(engine: TunnelHandle, session: number): void;
  /** Reports all open flows, or those opened in about the last two seconds. */
  tunnelReportBytes(engine: TunnelHandle, all: boolean): void;
  /** Returns the number of ended sessions whose peers have bytes to acknowledge. */
  tunnelUnacknowledged(engine: TunnelHandle): number;
  /** Returns a context, or the reason of the failure. */
  tunnelTlsContext(
    server: boolean,
    certificateChainPem: string,
    keyPem: string,
    rootsPem: string,
    revocationLists: readonly Uint8Array[],
    tls12: boolean,
    postQuantumOnly: boolean,
  ): TunnelHandle | string;
  tunnelChainRevoked(chain: readonly Uint8Array[], revocationLists: readonly Uint8Array[]): boolean;
}

/**
 * Loads the tunnel engine's addon on first use.
 *
 * @throws KmeshError `KMESH_ADDON_MISSING`, `KMESH_ADDON_BROKEN`; the latter also if the libraries in Node.js are
 * incompatible with the headers that the engine was compiled with
 */
export function nativeTunnel(): NativeTunnel {
  const native = loadAddon('tunnel') as NativeTunnel;
  for (const [library, headers] of [
    ['nghttp2', native.nghttp2Headers],
    ['openssl', native.opensslHeaders],
  ] as const) {
    const carried = process.versions[library] ?? 'none';
    if (!isCompatible(carried, headers)) {
      throw new KmeshError(
        'KMESH_ADDON_BROKEN',
        `the tunnel engine was compiled for ${library} ${headers}, but this Node.js has ${carried}: use the Node.js of the workspace (node_modules/.bin/node)`,
      );
    }
  }
  return native;
}

/** Returns whether a library is compatible with headers: same major version, and not an older minor one. */
function isCompatible(carried: string, headers: string): boolean {
  const [major, minor] = carried.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = headers.split('.').map(Number);
  return major === wantedMajor && minor !== undefined && minor >= wantedMinor;
}
