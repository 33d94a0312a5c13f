import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type Logger, type MeshUpdate, xds } from '@kmesh/api';
import { answerTo, rejectionText } from './answer.ts';
import { type AppliedResponse, applyResponse } from './apply-response.ts';
import { Backoff } from './backoff.ts';
import {
  type ControlPlane,
  type ControlPlaneSettings,
  channelCredentials,
  grpcTarget,
  requestMetadata,
  tlsChannelOptions,
} from './control-plane.ts';
import { countResponse, createCounters, type XdsCounters } from './counters.ts';
import { type Diagnosis, diagnoseEnd, diagnoseError } from './diagnose.ts';
import { buildFirstRequest } from './first-request.ts';
import { Interner } from './intern.ts';
import { type NodeIdentity, nodeMessage } from './node.ts';
import { RetainedResources } from './retained.ts';
import { type DeltaStream, openDeltaStream, type StreamTimes, standardTimes } from './stream.ts';
import { Waiters } from './waiters.ts';

/** What an xDS client needs to know. */
export interface XdsClientOptions {
  readonly controlPlane: ControlPlane;
  readonly node: NodeIdentity;
  /** Addresses only when they are asked for; policies stay complete. */
  readonly onDemand: boolean;
  readonly logger: Logger;
  /** For tests. */
  readonly times?: Partial<StreamTimes>;
  readonly random?: () => number;
}

/** Where the mesh goes. Calls never overlap. */
interface XdsSink {
  /**
   * Takes one slice of a response. Must be done when it returns or resolves: only then are waiting lookups released
   * and the response acknowledged. Should take less than 10 ms of the event loop for a few hundred updates.
   */
  apply(updates: readonly MeshUpdate[]): void | Promise<void>;
  /** A whole response has been applied, without a rejection or in part; it is answered when this returns or resolves. */
  applied?(typeUrl: string, accepted: boolean): void | Promise<void>;
  /** The first response of a type was accepted without any rejection (ambient contract 2.6, T7). */
  synced?(typeUrl: string): void;
}

/** State of the connection, for readiness, log and admin. */
interface XdsStatus {
  readonly connected: boolean;
  /** Types of which a response was acknowledged at least once. */
  readonly synced: readonly string[];
  /** The last failure, kept while there is no connection. */
  readonly lastError: { readonly setting: string | undefined; readonly cause: string } | undefined;
  /** Milliseconds since the epoch. */
  readonly nextTryAt: number | undefined;
}

/** A delta xDS client. It connects, and connects again, until it is closed. */
export interface XdsClient {
  readonly counters: XdsCounters;
  status(): XdsStatus;
  /** Waits until a name has arrived or is said not to exist; asks for it when nobody did (on-demand mode). */
  demand(name: string): Promise<void>;
  close(): Promise<void>;
}

/** Names of the environment variables behind {@link XdsClientOptions}, for messages. */
const settings: ControlPlaneSettings = {
  address: 'XDS_ADDRESS',
  rootCa: 'XDS_ROOT_CA',
  alternativeHostname: 'ALT_XDS_HOSTNAME',
  token: 'AUTH_TOKEN',
  headers: 'XDS_HEADER_',
};

/** In the order in which they are subscribed to (ambient contract 3.1). */
const subscribedTypes = [xds.addressTypeUrl, xds.authorizationTypeUrl] as const;
const loggedTextLength = 2_000;

/**
 * Starts a delta xDS client (ambient contract 3). What the control plane said stays in force while it is away: nothing
 * is ever removed because a stream ended.
 */
export function createXdsClient(options: XdsClientOptions, sink: XdsSink): XdsClient {
  const client = new DeltaClient(options, sink);
  const running = client.run();
  return {
    counters: client.counters,
    status: () => client.status(),
    demand: (name) => client.demand(name),
    close: async () => {
      client.stop();
      await running;
    },
  };
}

class DeltaClient {
  readonly counters = createCounters();
  readonly #options: XdsClientOptions;
  readonly #sink: XdsSink;
  readonly #retained = new Map(subscribedTypes.map((type) => [type as string, new RetainedResources()]));
  readonly #waiters = new Waiters();
  readonly #interner = new Interner();
  readonly #synced = new Set<string>();
  readonly #loggedPolicies = new Set<string>();
  readonly #backoff: Backoff;
  readonly #stopped = new AbortController();
  #stream: DeltaStream | undefined;
  #subscribed = false;
  #unconfirmed = new Map<string, Set<string>>();
  #lastError: XdsStatus['lastError'];
  #nextTryAt: number | undefined;

  constructor(options: XdsClientOptions, sink: XdsSink) {
    this.#options = options;
    this.#sink = sink;
    this.#backoff = new Backoff(options.random);
  }

  status(): XdsStatus {
    const connected = this.#stream?.isConnected() ?? false;
    return {
      connected,
      synced: [...this.#synced],
      lastError: connected ? undefined : this.#lastError,
      nextTryAt: this.#nextTryAt,
    };
  }

  stop(): void {
    this.#stopped.abort();
    this.#stream?.close();
  }

  demand(name: string): Promise<void> {
    const { first, done } = this.#waiters.add(name);
    // Without a stream the name is in the first request of the next one.
    if (first && this.#subscribed) this.#ask(name);
    return done;
  }

  async run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      const begun = performance.now();
      const diagnosis = await this.#attempt();
      this.#stream = undefined;
      this.#subscribed = false;
      if (this.#stopped.signal.aborted) return;
      this.counters.terminations[diagnosis.reason]++;
      const wait = this.#backoff.next(diagnosis.rule, performance.now() - begun);
      this.#report(diagnosis, wait);
      this.#nextTryAt = Date.now() + wait;
      await delay(wait, undefined, { signal: this.#stopped.signal }).catch(() => {});
      this.#nextTryAt = undefined;
    }
  }

  /** One stream from its connection to its end. */
  async #attempt(): Promise<Diagnosis> {
    const { controlPlane, times } = this.#options;
    let stream: DeltaStream | undefined;
    try {
      const requests = await this.#firstRequests();
      stream = openDeltaStream(
        grpcTarget(controlPlane.address),
        await channelCredentials(controlPlane, settings),
        await requestMetadata(controlPlane, settings),
        tlsChannelOptions(controlPlane),
        { ...standardTimes, ...times },
      );
      this.#stream = stream;
      if (this.#stopped.signal.aborted) stream.close();
      for (const request of requests) stream.send(request);
      this.#subscribed = true;
      await this.#receive(stream);
      return diagnoseEnd(await stream.ended, settings);
    } catch (error) {
      stream?.close();
      await stream?.ended;
      return diagnoseError(error);
    }
  }

  async #firstRequests(): Promise<readonly Buffer[]> {
    const node = nodeMessage(this.#options.node);
    const requests: Buffer[] = [];
    this.#unconfirmed = new Map();
    for (const [typeUrl, retained] of this.#retained) {
      const isAddress = typeUrl === xds.addressTypeUrl;
      const pending = isAddress ? this.#waiters.names() : [];
      const onDemand = isAddress && this.#options.onDemand;
      const request = await buildFirstRequest(typeUrl, node, onDemand, retained, pending);
      if (request.unconfirmed.size > 0) this.#unconfirmed.set(typeUrl, request.unconfirmed);
      requests.push(request.bytes);
    }
    return requests;
  }

  async #receive(stream: DeltaStream): Promise<void> {
    for (;;) {
      const message = await stream.next();
      if (message === undefined) return;
      const response = await this.#apply(message);
      stream.send(answerTo(response));
      this.#answered(response);
    }
  }

  async #apply(message: Buffer): Promise<AppliedResponse> {
    const response = await applyResponse(message, {
      interner: this.#interner,
      retained: (typeUrl) => this.#retained.get(typeUrl) ?? new RetainedResources(),
      unconfirmed: (typeUrl) => this.#unconfirmed.get(typeUrl),
      apply: (updates) => this.#sink.apply(updates),
      settled: (typeUrl, names) => {
        if (typeUrl === xds.addressTypeUrl) this.#waiters.release(names);
      },
      notUnderstood: (key) => this.#logPolicyOnce(key),
    });
    const { typeUrl } = response.header;
    this.#unconfirmed.delete(typeUrl);
    countResponse(this.counters, typeUrl, response.payloadBytes);
    if (response.known) await this.#sink.applied?.(typeUrl, response.rejections.length === 0);
    return response;
  }

  #answered(response: AppliedResponse): void {
    const { header, known, rejections, accepted, unknownRemovals } = response;
    const type = header.typeUrl;
    const logger = this.#options.logger;
    this.#lastError = undefined;
    if (!known) logger.warn('xDS response of an unknown type was ignored', { type });
    if (unknownRemovals > 0) {
      logger.debug('xDS removed names that were not known', { type, count: unknownRemovals });
    }
    if (rejections.length > 0) {
      this.counters.rejected++;
      this.counters.rejectedResources += rejections.length;
      const problems = rejectionText(rejections, loggedTextLength);
      logger.error('xDS response rejected in part', {
        type,
        accepted,
        rejected: rejections.length,
        problems,
      });
      return;
    }
    this.counters.acknowledged++;
    logger.debug('xDS response applied', { type, resources: accepted, removed: header.removed.length });
    if (known && !this.#synced.has(type)) {
      this.#synced.add(type);
      this.#sink.synced?.(type);
    }
  }

  #ask(name: string): void {
    const typeUrl = xds.addressTypeUrl;
    this.#stream?.send(xds.DeltaDiscoveryRequest.encode({ typeUrl, resourceNamesSubscribe: [name] }));
  }

  #report(diagnosis: Diagnosis, wait: number): void {
    const { reason, setting, cause } = diagnosis;
    const fields = { address: this.#options.controlPlane.address, reason, setting, cause, nextTryMs: wait };
    this.#lastError = { setting, cause };
    // The control plane ends streams regularly; that is no reason to worry anyone.
    if (reason === 'Complete' || reason === 'Reconnect')
      this.#options.logger.info('xDS stream ended', fields);
    else this.#options.logger.warn('xDS connection failed', fields);
  }

  #logPolicyOnce(policy: string): void {
    if (this.#loggedPolicies.has(policy) || this.#loggedPolicies.size >= 10_000) return;
    this.#loggedPolicies.add(policy);
    this.#options.logger.warn(
      'policy has parts that this version does not know: they count as not matching for ALLOW and as matching for DENY',
      { policy },
    );
  }
}
