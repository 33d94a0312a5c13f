import { randomBytes } from 'node:crypto';
import { workloadProto, xds } from '@kmesh/api';
import type { DeltaStream } from './delta-stream.ts';
import type { AdsCall, RunningGrpcServer } from './grpc-server.ts';
import type { StoredResource } from './resource-store.ts';
import type { TransportFront } from './transport-front.ts';

/** Faults of the fake control plane. Each call takes effect immediately; `false` or 0 ends a lasting fault. */
export interface IstiodFaults {
  /** Resets every open connection. */
  dropConnections(): void;
  /** Stops listening and resets open connections: a control plane that is down. */
  refuse(on: boolean): Promise<void>;
  /** Streams stay open, but answers and pushes are held back until the stall ends. */
  stall(on: boolean): void;
  /** Every call is answered Unauthenticated; open streams are ended with it. */
  rejectTokens(on: boolean): void;
  /**
   * Ends each stream that requests this type with PermissionDenied; ends open streams, so that clients request it
   * again.
   */
  refuseType(typeUrl: string, on: boolean): void;
  /** Ends every open stream: cleanly, or with a gRPC status. */
  endStreams(status?: { readonly code: number; readonly details: string }): void;
  /** Sends GOAWAY, as istiod does at the maximum age of a connection; open streams are ended after the grace time. */
  goaway(graceMilliseconds?: number): void;
  /** Stops all bytes in both directions; connections stay open. */
  halfOpen(on: boolean): void;
  /** Limits what the server sends per second. */
  slowDrip(bytesPerSecond: number): void;
  /** Resets the first connection on which this many more bytes were sent. */
  closeMidMessage(afterBytes: number): void;
  /** Pushes valid workloads that together have this size, in one response. Returns their names. */
  bigPush(mebibytes: number): string[];
  /** Pushes undecodable `Address` resources, together with `good`. Returns their names. */
  badResources(count: number, good?: readonly StoredResource[]): string[];
  /** Sends every open stream a message that is not a response. */
  garbageMessage(): void;
  /** Answers new connections with random bytes. */
  garbageConnections(on: boolean): void;
  /** Pushes a response of this type, regardless of the client's subscriptions. */
  pushRaw(typeUrl: string, resources: readonly StoredResource[], removed?: readonly string[]): void;
}

/** Returns a resource with an arbitrary payload, valid or not. */
export function rawResource(name: string, payload: Buffer | undefined, version = 'raw'): StoredResource {
  return { name, version, payload, aliases: [], node: undefined, services: [] };
}

const elementBytes = 1024 * 1024;

/** Workloads of one mebibyte each; the weight is in an extension, which clients ignore. */
function bigResources(mebibytes: number): StoredResource[] {
  const ballast = randomBytes(elementBytes - 1024);
  return Array.from({ length: mebibytes }, (_, index) => {
    const uid = `lab//Pod/big/big-${index}`;
    const payload = workloadProto.Address.encode({
      workload: {
        uid,
        name: `big-${index}`,
        namespace: 'big',
        addresses: [Buffer.from([10, 255, index >> 8, index & 255])],
        extensions: [{ name: 'ballast', config: { typeUrl: 'lab', value: ballast } }],
      },
    });
    return rawResource(uid, payload, `big-${index}`);
  });
}

/** Resources that no client can decode. */
function undecodableResources(count: number): StoredResource[] {
  // Field 1, length-delimited, and longer than what follows.
  return Array.from({ length: count }, (_, index) =>
    rawResource(`bad-${index}`, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, index & 255])),
  );
}

/** Returns bytes that do not decode as a `DeltaDiscoveryResponse`. */
function garbageMessage(): Buffer {
  return Buffer.concat([Buffer.from([0x12, 0xff, 0xff, 0xff, 0x0f]), randomBytes(256)]);
}

/** One open xDS stream, with its call. */
export interface OpenStream {
  readonly stream: DeltaStream;
  readonly call: AdsCall;
  readonly headers: Readonly<Record<string, string>>;
}

/** The parts of a running fake istiod that faults act on. */
interface FaultTarget {
  fronts(): readonly TransportFront[];
  servers(): readonly RunningGrpcServer[];
  streams(): readonly OpenStream[];
  /** Remembers the fault for streams to come. */
  stall(on: boolean): void;
  /** Remembers the fault for calls to come. */
  rejectTokens(on: boolean): void;
  /** Remembers the fault for requests to come. */
  refuseType(typeUrl: string, on: boolean): void;
}

/** The fault switches of one fake istiod. */
export function createFaults(target: FaultTarget): IstiodFaults {
  const endStreams: IstiodFaults['endStreams'] = (status) => {
    for (const { call } of target.streams()) {
      if (status === undefined) call.end();
      else call.emit('error', status);
    }
  };
  const pushRaw: IstiodFaults['pushRaw'] = (typeUrl, resources, removed = []) => {
    for (const { stream } of target.streams()) stream.pushRaw(typeUrl, resources, removed);
  };
  const pushAddresses = (resources: readonly StoredResource[]): string[] => {
    pushRaw(xds.addressTypeUrl, resources);
    return resources.map((resource) => resource.name);
  };
  const everyFront = (act: (front: TransportFront) => void): void => target.fronts().forEach(act);
  return {
    dropConnections: () => everyFront((front) => front.drop()),
    refuse: async (on) => {
      for (const front of target.fronts()) await (on ? front.close() : front.open());
    },
    stall: (on) => {
      target.stall(on);
      for (const { stream } of target.streams()) stream.stall(on);
    },
    rejectTokens: (on) => {
      target.rejectTokens(on);
      if (on) endStreams({ code: 16, details: 'token has expired' });
    },
    refuseType: (typeUrl, on) => {
      target.refuseType(typeUrl, on);
      endStreams();
    },
    endStreams,
    goaway: (graceMilliseconds = 10) => {
      for (const server of target.servers()) server.goaway(graceMilliseconds);
    },
    halfOpen: (on) => everyFront((front) => front.freeze(on)),
    slowDrip: (bytesPerSecond) => everyFront((front) => front.drip(bytesPerSecond)),
    closeMidMessage: (afterBytes) => everyFront((front) => front.cutAfter(afterBytes)),
    bigPush: (mebibytes) => pushAddresses(bigResources(mebibytes)),
    badResources: (count, good = []) =>
      pushAddresses([...undecodableResources(count), ...good]).slice(0, count),
    garbageMessage: () => {
      for (const { call } of target.streams()) call.write(garbageMessage());
    },
    garbageConnections: (on) => everyFront((front) => front.answerGarbage(on)),
    pushRaw,
  };
}
