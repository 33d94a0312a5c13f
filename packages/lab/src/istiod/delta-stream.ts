import { randomBytes } from 'node:crypto';
import { xds } from '@kmesh/api';
import { type CallerIdentity, nodeName, nodeProblem } from './node-check.ts';
import type { ResourceStore, StoreChange, StoredResource } from './resource-store.ts';
import { Subscription } from './subscription.ts';

/** One recorded request. */
export interface RecordedRequest {
  readonly stream: number;
  readonly typeUrl: string;
  readonly kind: 'first' | 'subscribe' | 'ack' | 'nack';
  readonly node: xds.Node | undefined;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  readonly initialVersions: Readonly<Record<string, string>>;
  readonly nonce: string;
  /** Text of the rejection. */
  readonly error: string | undefined;
}

/** Interface of a stream to its transport and the fake. */
interface DeltaStreamHost {
  readonly store: ResourceStore;
  /** Absent on the unauthenticated port. */
  readonly caller: CallerIdentity | undefined;
  send(message: Buffer): void;
  /** Ends the stream with a gRPC status. */
  refuse(code: number, details: string): void;
  /** Returns whether the type is refused. */
  refuses(typeUrl: string): boolean;
  violation(text: string): void;
  record(request: RecordedRequest): void;
}

interface TypeState {
  readonly subscription: Subscription;
  /** Nonces of unanswered responses, oldest first. */
  readonly outstanding: string[];
  readonly onDemand: boolean;
}

const servedTypes: readonly string[] = [
  xds.addressTypeUrl,
  xds.authorizationTypeUrl,
  xds.virtualServiceTypeUrl,
];

/** One delta ADS stream: subscriptions, nonces and protocol violations of the client. Ambient contract 3.3. */
export class DeltaStream {
  readonly id: number;
  readonly #host: DeltaStreamHost;
  readonly #types = new Map<string, TypeState>();
  readonly #answered = new Set<string>();
  #node: xds.Node | undefined;
  #stalled = false;
  #held: (() => void)[] = [];

  constructor(id: number, host: DeltaStreamHost) {
    this.id = id;
    this.#host = host;
  }

  get node(): xds.Node | undefined {
    return this.#node;
  }

  get typeUrls(): readonly string[] {
    return [...this.#types.keys()];
  }

  /** Responses that the client has not answered. */
  get outstanding(): number {
    let count = 0;
    for (const state of this.#types.values()) count += state.outstanding.length;
    return count;
  }

  /** While stalled, answers and pushes are held back; they follow when the stall ends. */
  stall(stalled: boolean): void {
    this.#stalled = stalled;
    if (stalled) return;
    const held = this.#held;
    this.#held = [];
    for (const action of held) action();
  }

  receive(request: xds.DeltaDiscoveryRequest): void {
    const typeUrl = request.typeUrl ?? '';
    const state = this.#types.get(typeUrl);
    const kind = this.#kindOf(request, state);
    this.#host.record({
      stream: this.id,
      typeUrl,
      kind,
      node: request.node ?? undefined,
      subscribe: request.resourceNamesSubscribe ?? [],
      unsubscribe: request.resourceNamesUnsubscribe ?? [],
      initialVersions: request.initialResourceVersions ?? {},
      nonce: request.responseNonce ?? '',
      error: request.errorDetail?.message ?? undefined,
    });
    if (state === undefined) this.#first(typeUrl, request);
    else this.#later(state, request, kind);
  }

  /** Sends the part of a change of one type that this stream watches. */
  push(typeUrl: string, change: StoreChange): void {
    const names = change.get(typeUrl);
    const state = this.#types.get(typeUrl);
    if (names === undefined || state === undefined) return;
    this.#orHold(() => {
      const { resources, removed } = state.subscription.affected(this.#host.store, names);
      if (resources.length + removed.length > 0) this.#respond(state, resources, removed);
    });
  }

  /** Sends resources that are not in the store. */
  pushRaw(typeUrl: string, resources: readonly StoredResource[], removed: readonly string[] = []): void {
    const state = this.#types.get(typeUrl);
    if (state === undefined) {
      // The client must answer an unsolicited response too, so its nonce is outstanding.
      const unasked: TypeState = {
        subscription: new Subscription({ typeUrl, wildcard: false, names: [], held: new Map(), node: '' }),
        outstanding: [],
        onDemand: false,
      };
      this.#types.set(typeUrl, unasked);
      this.#respond(unasked, resources, removed);
      return;
    }
    this.#orHold(() => this.#respond(state, resources, removed));
  }

  #kindOf(request: xds.DeltaDiscoveryRequest, state: TypeState | undefined): RecordedRequest['kind'] {
    if (state === undefined) return 'first';
    if (request.errorDetail !== null && request.errorDetail !== undefined) return 'nack';
    return (request.responseNonce ?? '') === '' ? 'subscribe' : 'ack';
  }

  #first(typeUrl: string, request: xds.DeltaDiscoveryRequest): void {
    const { node, responseNonce, errorDetail } = request;
    const subscribe = request.resourceNamesSubscribe ?? [];
    const unsubscribe = request.resourceNamesUnsubscribe ?? [];
    if (!servedTypes.includes(typeUrl)) this.#violation(`subscribes to the unknown type "${typeUrl}"`);
    const position = this.#types.size;
    if (servedTypes.indexOf(typeUrl) > position)
      this.#violation(`subscribes to ${typeUrl} before ${servedTypes[position]}`);
    if (node === null || node === undefined) {
      this.#violation(`first request for ${typeUrl} carries no node`);
      this.#host.refuse(3, 'missing node information');
      return;
    }
    const problem = nodeProblem(node, this.#host.caller);
    if (problem !== undefined) {
      this.#host.refuse(7, problem);
      return;
    }
    if ((responseNonce ?? '') !== '')
      this.#violation(`first request for ${typeUrl} carries nonce "${responseNonce}"`);
    if (errorDetail !== null && errorDetail !== undefined)
      this.#violation(`first request for ${typeUrl} rejects something`);
    this.#node ??= node;
    if (this.#host.refuses(typeUrl)) {
      this.#host.refuse(7, `no permission to watch ${typeUrl}`);
      return;
    }

    const held = new Map(Object.entries(request.initialResourceVersions ?? {}));
    const wildcard = subscribe.length === 0 || (subscribe.includes('*') && !unsubscribe.includes('*'));
    const names = wildcard
      ? []
      : [...held.keys(), ...subscribe].filter((name) => !unsubscribe.includes(name));
    // A name with an empty version was requested on an earlier stream and got no answer, or its newest version was
    // rejected.
    const unanswered = [...held].filter(([, version]) => version === '').map(([name]) => name);
    if (typeUrl === xds.addressTypeUrl) for (const name of unanswered) held.delete(name);
    const subscription = new Subscription({ typeUrl, wildcard, names, held, node: nodeName(node) });
    const state: TypeState = { subscription, outstanding: [], onDemand: !wildcard };
    this.#types.set(typeUrl, state);
    this.#orHold(() => {
      const { resources, removed } = subscription.pending(this.#host.store);
      const missing = unanswered.filter((name) => this.#host.store.find(typeUrl, name).length === 0);
      this.#respond(state, resources, [...new Set([...removed, ...missing])]);
    });
  }

  #later(state: TypeState, request: xds.DeltaDiscoveryRequest, kind: RecordedRequest['kind']): void {
    const { typeUrl } = state.subscription;
    const nonce = request.responseNonce ?? '';
    const subscribe = request.resourceNamesSubscribe ?? [];
    const unsubscribe = request.resourceNamesUnsubscribe ?? [];
    if (request.node !== null && request.node !== undefined)
      this.#violation(`repeats the node in a later request for ${typeUrl}`);
    if (Object.keys(request.initialResourceVersions ?? {}).length > 0) {
      this.#violation(`sends initial_resource_versions in a later request for ${typeUrl}`);
    }
    if (kind === 'nack' && nonce === '') this.#violation(`rejects something of ${typeUrl} without a nonce`);
    if (kind === 'nack' && (request.errorDetail?.message ?? '') === '')
      this.#violation(`rejects ${nonce} without saying why`);
    if (nonce !== '') this.#settle(state, nonce);
    else if (subscribe.length + unsubscribe.length === 0 && kind !== 'nack') {
      this.#violation(`sends a request for ${typeUrl} that says nothing`);
    }
    if (subscribe.includes('*')) this.#violation(`subscribes to ${typeUrl} as a whole for a second time`);
    if (state.subscription.wildcard && subscribe.length > 0) {
      this.#violation(`asks for ${subscribe.join(', ')} although it already watches all of ${typeUrl}`);
    }
    if (subscribe.length + unsubscribe.length === 0) return;
    // istiod does not answer such a request.
    const same = [
      ...subscribe.filter((name) => state.subscription.watches(name)),
      ...unsubscribe.filter((name) => !state.subscription.watches(name)),
    ];
    if (same.length > 0) this.#violation(`changes nothing about the subscription to ${same.join(', ')}`);
    if (same.length === subscribe.length + unsubscribe.length) return;
    state.subscription.unsubscribe(unsubscribe);
    state.subscription.subscribe(subscribe);
    this.#orHold(() => {
      const { resources, removed } = state.subscription.answer(this.#host.store, subscribe);
      this.#respond(state, resources, removed);
    });
  }

  #settle(state: TypeState, nonce: string): void {
    const position = state.outstanding.indexOf(nonce);
    if (position < 0) {
      const again = this.#answered.has(nonce)
        ? 'answers a second time'
        : 'answers a nonce that was never sent';
      this.#violation(`${again}: "${nonce}" for ${state.subscription.typeUrl}`);
      return;
    }
    if (position > 0) this.#violation(`answers "${nonce}" before ${position} earlier response(s)`);
    state.outstanding.splice(position, 1);
    this.#answered.add(nonce);
  }

  #respond(state: TypeState, resources: readonly StoredResource[], removed: readonly string[]): void {
    const { typeUrl } = state.subscription;
    const nonce = `${this.id}-${randomBytes(6).toString('hex')}`;
    state.outstanding.push(nonce);
    state.subscription.markSent(resources, removed);
    this.#host.send(
      xds.DeltaDiscoveryResponse.encode({
        systemVersionInfo: new Date().toISOString(),
        typeUrl,
        nonce,
        removedResources: [...removed],
        resources: resources.map((resource) => ({
          name: resource.name,
          version: resource.version,
          aliases: state.onDemand ? [...resource.aliases] : [],
          ...(resource.payload === undefined ? {} : { resource: { typeUrl, value: resource.payload } }),
        })),
      }),
    );
  }

  #orHold(action: () => void): void {
    if (this.#stalled) this.#held.push(action);
    else action();
  }

  #violation(text: string): void {
    this.#host.violation(`stream ${this.id}: ${text}`);
  }
}
