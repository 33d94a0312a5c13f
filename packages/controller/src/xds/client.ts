import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type Logger, type MeshUpdate, xds } from '@kmesh/api';
import type { ControlPlane, ControlPlaneSettings } from '../istiod/control-plane.ts';
import type { StreamTimes } from '../istiod/stream.ts';
import { IstiodThread, type ReceivedResponse, standardTimes, type ThreadStream } from '../istiod/thread.ts';
import { Interner } from './convert/common.ts';
import { answerTo, buildFirstRequest, type NodeIdentity, nodeMessage } from './requests.ts';
import { RetainedResources, Waiters } from './resources.ts';
import {
  type AppliedResponse,
  applyResponse,
  countResponse,
  createCounters,
  recordAnswer,
  type XdsCounters,
} from './responses.ts';
import { Backoff, type Diagnosis, diagnoseEnd, diagnoseError } from './retry.ts';
import { RouteSubscription, type RoutesState } from './route-subscription.ts';
import { WatchedNames } from './watched-names.ts';

/** Options of an xDS client. */
export interface XdsClientOptions {
  readonly controlPlane: ControlPlane;
  readonly node: NodeIdentity;
  /** Whether addresses are subscribed to on demand; policies are always complete. */
  readonly onDemand: boolean;
  /** Whether routes are subscribed to, once addresses and policies have arrived; default: no. */
  readonly routes?: boolean;
  /** Completes host names of routes that have no dot. */
  readonly clusterDomain?: string;
  readonly logger: Logger;
  /** Number of names without a resource that stay subscribed (on-demand mode); 4096. */
  readonly absentNames?: number;
  /** For tests. */
  readonly times?: Partial<StreamTimes>;
  readonly random?: () => number;
  /** Closed with the client; default: a new thread. */
  readonly thread?: IstiodThread;
  /** Responses are read only after this has resolved; the connection is opened before. */
  readonly receiveAfter?: Promise<void>;
}

/** Receiver of the mesh. Calls never overlap. */
interface XdsSink {
  /**
   * Applies one slice of a response. Waiting lookups are released and the response is acknowledged after it returns or
   * resolves. It should block the event loop for less than 10 ms per few hundred updates.
   */
  apply(updates: readonly MeshUpdate[]): void | Promise<void>;
  /** Called after a response is applied, in full or in part; it is answered when this returns or resolves. */
  applied?(typeUrl: string, accepted: boolean): void | Promise<void>;
  /** Called after the first response of a type without a rejection (docs/contract.md 2.6). */
  synced?(typeUrl: string): void;
}

/** Connection state, for readiness, log and admin. */
interface XdsStatus {
  readonly connected: boolean;
  /** Types with at least one acknowledged response. */
  readonly synced: readonly string[];
  /** The last failure; `undefined` while connected. */
  readonly lastError: { readonly setting: string | undefined; readonly cause: string } | undefined;
  /** Milliseconds since the epoch. */
  readonly nextTryAt: number | undefined;
  readonly routes: RoutesState;
}

/** A delta xDS client that reconnects until it is closed. */
export interface XdsClient {
  readonly counters: XdsCounters;
  status(): XdsStatus;
  /**
   * Requests a resource by name, and resolves when it has arrived or does not exist (on-demand mode).
   *
   * @param signal ends the wait: the promise is then never resolved
   */
  demand(name: string, signal?: AbortSignal): Promise<void>;
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

/** In order of subscription (docs/contract.md 3.1). */
const subscribedTypes = [xds.addressTypeUrl, xds.authorizationTypeUrl] as const;

/**
 * Starts a delta xDS client (docs/contract.md 3). State is kept while the control plane is unreachable: the end of a
 * stream removes nothing.
 */
export function createXdsClient(options: XdsClientOptions, sink: XdsSink): XdsClient {
  const client = new DeltaClient(options, sink);
  const running = client.run();
  return {
    counters: client.counters,
    status: () => client.status(),
    demand: (name, signal) => client.demand(name, signal),
    close: async () => {
      client.stop();
      await running;
      await client.end();
    },
  };
}

class DeltaClient {
  readonly counters = createCounters();
  readonly #options: XdsClientOptions;
  readonly #sink: XdsSink;
  readonly #retained = new Map(
    [...subscribedTypes, xds.virtualServiceTypeUrl].map((type) => [type as string, new RetainedResources()]),
  );
  readonly #thread: IstiodThread;
  readonly #waiters = new Waiters();
  readonly #interner = new Interner();
  readonly #synced = new Set<string>();
  readonly #loggedPolicies = new Set<string>();
  readonly #backoff: Backoff;
  readonly #stopped = new AbortController();
  #stream: ThreadStream | undefined;
  #subscribed = false;
  /** gRPC status of the last stream's end. */
  #endCode: number | undefined;
  #unconfirmed = new Map<string, Set<string>>();
  readonly #watched: WatchedNames;
  #lastError: XdsStatus['lastError'];
  /** Whether this stream's connection was logged. */
  #reported = false;
  #nextTryAt: number | undefined;
  readonly #routes: RouteSubscription;

  constructor(options: XdsClientOptions, sink: XdsSink) {
    this.#options = options;
    this.#sink = sink;
    this.#thread = options.thread ?? new IstiodThread();
    this.#backoff = new Backoff(options.random);
    this.#watched = new WatchedNames(options.absentNames);
    this.#routes = new RouteSubscription({
      ask: () => void this.#askForRoutes(),
      after: subscribedTypes,
      refusedMilliseconds: options.times?.routesRefused ?? standardTimes.routesRefused,
    });
  }

  status(): XdsStatus {
    const connected = this.#stream?.isConnected() ?? false;
    return {
      connected,
      synced: [...this.#synced],
      lastError: connected ? undefined : this.#lastError,
      nextTryAt: this.#nextTryAt,
      routes: this.#routes.state,
    };
  }

  stop(): void {
    this.#stopped.abort();
    this.#routes.close();
    this.#stream?.close();
  }

  end(): Promise<void> {
    return this.#thread.close();
  }

  demand(name: string, signal?: AbortSignal): Promise<void> {
    const { first, done } = this.#waiters.add(name, signal);
    // Without a stream the first request of the next stream carries the name.
    if (first && this.#subscribed) this.#ask(name);
    return done;
  }

  async run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      const begun = performance.now();
      this.#routes.streamBegins();
      const diagnosis = await this.#attempt();
      this.#stream = undefined;
      this.#subscribed = false;
      if (this.#stopped.signal.aborted) return;
      const refusal = this.#routes.streamEnded(this.#endCode);
      if (refusal !== 'no') await this.#giveUpRoutes(diagnosis.cause, refusal === 'first');
      this.counters.terminations[diagnosis.reason]++;
      // A refusal of routes does not concern the other types, which are fetched again at once.
      const rule = refusal === 'no' ? diagnosis.rule : 'atOnce';
      const wait = this.#backoff.next(rule, performance.now() - begun);
      if (refusal === 'no') this.#report(diagnosis, wait);
      this.#nextTryAt = Date.now() + wait;
      await delay(wait, undefined, { signal: this.#stopped.signal }).catch(() => {});
      this.#nextTryAt = undefined;
    }
  }

  /** Runs one stream until it ends. */
  async #attempt(): Promise<Diagnosis> {
    const { controlPlane, times } = this.#options;
    this.#endCode = undefined;
    this.#reported = false;
    const requests = await this.#firstRequests();
    using stream = this.#thread.open({ controlPlane, settings, times: { ...standardTimes, ...times } });
    this.#stream = stream;
    try {
      if (this.#stopped.signal.aborted) stream.close();
      for (const request of requests) stream.send(request);
      this.#subscribed = true;
      // Names that were demanded while the requests were built.
      for (const name of this.#waiters.names()) if (!this.#watched.has(name)) this.#ask(name);
      await Promise.race([this.#options.receiveAfter, stream.ended]);
      await this.#receive(stream);
      const end = await stream.ended;
      this.#endCode = end.code;
      return diagnoseEnd(end, settings);
    } catch (error) {
      stream.close();
      await stream.ended;
      return diagnoseError(error);
    }
  }

  async #firstRequests(): Promise<readonly Buffer[]> {
    const node = nodeMessage(this.#options.node);
    const requests: Buffer[] = [];
    this.#unconfirmed = new Map();
    for (const typeUrl of subscribedTypes) {
      const retained = this.#retainedOf(typeUrl);
      const isAddress = typeUrl === xds.addressTypeUrl;
      const pending = isAddress ? [...this.#waiters.names()] : [];
      const onDemand = isAddress && this.#options.onDemand;
      const request = await buildFirstRequest({ typeUrl, node, onDemand, retained, pending });
      if (request.unconfirmed.size > 0) this.#unconfirmed.set(typeUrl, request.unconfirmed);
      if (onDemand) {
        const held = new Set(retained.names()).difference(request.unconfirmed);
        this.#watched.begin(held.union(new Set(pending)));
      }
      requests.push(request.bytes);
    }
    return requests;
  }

  async #receive(stream: ThreadStream): Promise<void> {
    let next: Promise<ReceivedResponse | undefined> | undefined;
    for (;;) {
      const received = await (next ?? stream.next());
      next = undefined;
      if (received === undefined) return;
      const responses = [await this.#apply(received)];
      if (this.#isComplete(responses)) {
        // The first mesh state takes effect together with its routes, so that a restart does not serve without them.
        const patience = delay(this.#options.times?.firstRoutes ?? standardTimes.firstRoutes, undefined, {
          signal: this.#stopped.signal,
          ref: false,
        });
        const over = patience.then(
          () => 'over' as const,
          () => 'over' as const,
        );
        while (this.#routes.isAsking) {
          next ??= stream.next();
          const early = await Promise.race([next, over]);
          if (early === 'over') break;
          if (early === undefined) return;
          next = undefined;
          responses.push(await this.#apply(early));
        }
      }
      for (const response of responses) await this.#answer(stream, response);
    }
  }

  /** Returns whether these responses, not answered yet, complete the first mesh state of this client. */
  #isComplete(responses: readonly AppliedResponse[]): boolean {
    const there = new Set([...this.#synced, ...responses.map(({ header }) => header.typeUrl)]);
    return subscribedTypes.every((type) => there.has(type)) && this.#synced.size < subscribedTypes.length;
  }

  async #answer(stream: ThreadStream, response: AppliedResponse): Promise<void> {
    const { header, known, rejections } = response;
    if (known) await this.#sink.applied?.(header.typeUrl, rejections.length === 0);
    stream.send(answerTo(response));
    const excess = this.#watched.forgetAbsent(this.#waiters.names());
    if (excess !== undefined) stream.send(excess);
    this.#answered(response);
  }

  async #askForRoutes(): Promise<void> {
    const stream = this.#stream;
    const typeUrl = xds.virtualServiceTypeUrl;
    const node = nodeMessage(this.#options.node);
    const retained = this.#retainedOf(typeUrl);
    const request = await buildFirstRequest({ typeUrl, node, onDemand: false, retained, pending: [] });
    if (stream === undefined || stream !== this.#stream) return;
    // The control plane keeps no versions of routes, so a removed route is known by its absence.
    this.#unconfirmed.set(typeUrl, new Set(retained.names()));
    stream.send(request.bytes);
  }

  /** Withdraws all routes: stale weights that the control plane can no longer change are worse than none. */
  async #giveUpRoutes(cause: string, isFirst: boolean): Promise<void> {
    const retained = this.#retainedOf(xds.virtualServiceTypeUrl);
    const held = [...retained.names()];
    for (const name of held) retained.remove(name);
    if (held.length > 0) await this.#sink.apply(held.map((key) => ({ kind: 'removeRoute', key })));
    if (!isFirst) return;
    this.#options.logger.warn(
      'the control plane refuses to send routes: connections are not split by weights; routes are requested again later',
      { type: xds.virtualServiceTypeUrl, cause, withdrawn: held.length },
    );
  }

  #retainedOf(typeUrl: string): RetainedResources {
    return this.#retained.get(typeUrl) ?? new RetainedResources();
  }

  async #apply(received: ReceivedResponse): Promise<AppliedResponse> {
    const response = await applyResponse(received, {
      interner: this.#interner,
      retained: (typeUrl) => this.#retainedOf(typeUrl),
      clusterDomain: this.#options.clusterDomain,
      unconfirmed: (typeUrl) => this.#unconfirmed.get(typeUrl),
      apply: (updates) => this.#sink.apply(updates),
      settled: (typeUrl, names, isRemoval) => {
        if (typeUrl === xds.addressTypeUrl) this.#settled(names, isRemoval);
      },
      notUnderstood: (key) => this.#logPolicyOnce(key),
    });
    const { typeUrl } = response.header;
    this.#unconfirmed.delete(typeUrl);
    countResponse(this.counters, typeUrl, response.payloadBytes);
    if (this.#options.routes) this.#routes.responded(typeUrl);
    return response;
  }

  #answered(response: AppliedResponse): void {
    if (!this.#reported) {
      const again = this.#synced.size > 0 ? ' again' : '';
      const { address } = this.#options.controlPlane;
      this.#options.logger.info(`the control plane is connected${again}`, { address });
    }
    this.#reported = true;
    this.#lastError = undefined;
    if (!recordAnswer(response, this.counters, this.#options.logger)) return;
    const { typeUrl } = response.header;
    if (response.known && !this.#synced.has(typeUrl)) {
      this.#synced.add(typeUrl);
      this.#sink.synced?.(typeUrl);
    }
  }

  /** @param names of a resource or a removal; the first is its own, the others are aliases */
  #settled(names: readonly string[], isRemoval: boolean): void {
    const [name] = names;
    if (this.#options.onDemand && name !== undefined) this.#watched.settled(name, isRemoval);
    this.#waiters.release(names);
  }

  #ask(name: string): void {
    for (const request of this.#watched.ask(name)) this.#stream?.send(request);
  }

  #report(diagnosis: Diagnosis, wait: number): void {
    const { reason, setting, cause } = diagnosis;
    const fields = { address: this.#options.controlPlane.address, reason, setting, cause, nextTryMs: wait };
    this.#lastError = { setting, cause };
    // The control plane ends streams regularly; this is not a problem.
    if (reason === 'Complete' || reason === 'Reconnect')
      this.#options.logger.info('xDS stream ended', fields);
    else this.#options.logger.warn('xDS connection failed', fields);
  }

  #logPolicyOnce(policy: string): void {
    if (this.#loggedPolicies.has(policy) || this.#loggedPolicies.size >= 10_000) return;
    this.#loggedPolicies.add(policy);
    this.#options.logger.warn(
      'policy has fields unknown to this version: they never match in ALLOW and always match in DENY',
      { policy },
    );
  }
}
