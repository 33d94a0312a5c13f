import rcodes from 'dns-packet/rcodes.js';
import recordTypes from 'dns-packet/types.js';
import type { Forwarder, ForwardOutcome } from '../forward/forwarder.ts';
import {
  type AddressType,
  defaultSearchDomains,
  type LocalAnswer,
  type NameContext,
  type NameTable,
  resolveName,
} from '../names/resolve.ts';
import {
  maximumTcpBytes,
  maximumUdpBytes,
  type PackedAddresses,
  packAddresses,
  udpLimit,
  writeAnswer,
  writeFormatRefusal,
  writeRefusal,
} from '../wire/answer.ts';
import { parseQuery, type Query, recordType, responseCode } from '../wire/query.ts';
import type { ClientWorkload } from './protocol.ts';
import type { Answerer } from './udp-listener.ts';

const known = new Map<number, string>();

/** Names of the numbers on the wire, for logs and metrics. */
export const types = {
  /** Returns `A`, `AAAA`, …; `UNKNOWN` for a number without a name, so that clients cannot create metric series. */
  record(type: number): string {
    let name = known.get(type);
    if (name === undefined) {
      const text = recordTypes.toString(type);
      name = text.startsWith('UNKNOWN') ? 'UNKNOWN' : text;
      known.set(type, name);
    }
    return name;
  },
  /** Returns `NOERROR`, `NXDOMAIN`, … */
  code: (code: number): string => rcodes.toString(code),
} as const;

export type Transport = 'udp' | 'tcp';

/** Observer of queries, for metrics and log. */
export interface QueryObserver {
  asked(query: Query, transport: Transport): void;
  forwarded(query: Query, transport: Transport, outcome: ForwardOutcome): void;
  /** Whether {@link QueryObserver.line} is needed. */
  readonly logs: boolean;
  line(query: Query, result: string, endpoints: string): void;
}

/** Options of {@link PodServer}. */
export interface PodServerOptions {
  readonly namespace: string;
  readonly table: NameTable;
  /** Returns a number that changes with the table. */
  readonly generation: () => number;
  readonly settings: Pick<NameContext, 'clusterDomain' | 'preferredNamespace' | 'ipv6'>;
  readonly forwarder: Forwarder;
  readonly observer: QueryObserver;
  /** Requests names from the control plane before a query is forwarded; absent if the table has all names. */
  readonly demand?: (name: string) => Promise<void> | undefined;
}

/** How long queries wait for the pod's own workload (contract 12). */
const workloadMilliseconds = 5_000;
/** Limit of queries that wait for the workload; more are refused at once. */
const maximumWaiting = 256;
/** Limit of queries that wait for the control plane; more are refused at once. */
const maximumAsking = 64;
/** Limit of cached decisions per type; the cache is cleared when the table changes. */
const maximumRemembered = 4_096;

/** A decision in a form that is ready to be written. */
interface Remembered {
  readonly answer: LocalAnswer;
  readonly addresses: PackedAddresses;
  readonly cnameLabels: number | undefined;
}

/** Answers the queries of one pod: from the mesh, or through its forwarder. */
export class PodServer {
  readonly #options: PodServerOptions;
  readonly #remembered = {
    A: new Map<string, Remembered | 'forward'>(),
    AAAA: new Map<string, Remembered | 'forward'>(),
  } as const;
  readonly #waiting = new Set<() => void>();
  /** Queries that wait for the control plane. */
  #asking = 0;
  #context: NameContext | undefined;
  #search: readonly string[] | undefined;
  #generation = -1;

  constructor(options: PodServerOptions) {
    this.#options = options;
  }

  /** Sets the workload of the pod and answers queries that waited for it. */
  setClient(client: ClientWorkload | undefined): void {
    const { namespace, settings } = this.#options;
    this.#forget();
    if (client === undefined) {
      this.#context = undefined;
      return;
    }
    const search = this.#search ?? defaultSearchDomains(namespace, settings.clusterDomain);
    this.#context = { ...settings, namespace, network: client.network, search };
    for (const answer of [...this.#waiting]) answer();
  }

  /** Sets the search domains of the pod; the default is those of Kubernetes. */
  setSearch(search: readonly string[]): void {
    this.#search = search;
    this.#forget();
    if (this.#context !== undefined) this.#context = { ...this.#context, search };
  }

  /** Returns the function that answers messages of a transport. */
  answerer(transport: Transport): Answerer {
    return (message, into, at, later) => this.#answer(message, into, at, { transport, later });
  }

  #answer(
    message: Uint8Array,
    into: Uint8Array,
    at: number,
    how: { readonly transport: Transport; readonly later: () => (answer: Uint8Array) => void },
  ): number {
    const parsed = parseQuery(message);
    if (parsed.kind === 'drop') return 0;
    if (parsed.kind === 'refuse') return writeFormatRefusal(into, at, message, parsed);
    const { query } = parsed;
    const { observer } = this.#options;
    const { transport, later } = how;
    observer.asked(query, transport);
    if (query.edns !== undefined && query.edns.version !== 0) {
      return this.#refuse(into, at, query, responseCode.badVersion);
    }
    if (query.type === recordType.axfr || query.type === recordType.ixfr) {
      return this.#refuse(into, at, query, responseCode.refused);
    }
    if (this.#context === undefined) {
      if (this.#waiting.size >= maximumWaiting)
        return this.#refuse(into, at, query, responseCode.serverFailure);
      this.#wait(new Uint8Array(message), transport, later());
      return -1;
    }
    const decision = this.#decide(query);
    if (decision !== 'forward') return this.#write(into, at, query, transport, decision);
    this.#forward(new Uint8Array(message), transport, later());
    return -1;
  }

  #refuse(into: Uint8Array, at: number, query: Query, code: number): number {
    const { observer } = this.#options;
    if (observer.logs) observer.line(query, `refused with code ${code}`, '');
    return writeRefusal(into, at, query, code);
  }

  #write(into: Uint8Array, at: number, query: Query, transport: Transport, decision: Remembered): number {
    const { observer } = this.#options;
    if (observer.logs) {
      const { record, addresses } = decision.answer;
      observer.line(query, `answered from ${record.key}`, addresses.slice(0, 16).join(','));
    }
    const { addresses, cnameLabels } = decision;
    const limit = transport === 'tcp' ? maximumTcpBytes : udpLimit(query);
    return writeAnswer(into, at, { query, addresses, cnameLabels, limit });
  }

  #decide(query: Query): Remembered | 'forward' {
    const generation = this.#options.generation();
    if (generation !== this.#generation) {
      this.#forget();
      this.#generation = generation;
    }
    const { name } = query;
    const context = this.#context;
    const type = query.type === recordType.a ? 'A' : query.type === recordType.aaaa ? 'AAAA' : undefined;
    if (name === undefined || type === undefined || query.class !== 1 || context === undefined)
      return 'forward';
    const remembered = this.#remembered[type];
    let decision = remembered.get(name);
    if (decision === undefined) {
      if (remembered.size >= maximumRemembered) remembered.clear();
      decision = remember(resolveName(this.#options.table, context, name, type), type);
      remembered.set(name, decision);
    }
    return decision;
  }

  #forget(): void {
    this.#remembered.A.clear();
    this.#remembered.AAAA.clear();
  }

  /** @param message a copy that no other code uses */
  #wait(message: Uint8Array, transport: Transport, reply: (answer: Uint8Array) => void): void {
    const finish = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(finish);
      const parsed = parseQuery(message);
      if (parsed.kind !== 'query') return;
      if (this.#context === undefined) reply(refusal(parsed.query, responseCode.serverFailure));
      else this.#answerLater(message, parsed.query, transport, reply);
    };
    const timer = setTimeout(finish, workloadMilliseconds);
    this.#waiting.add(finish);
  }

  #answerLater(
    message: Uint8Array,
    query: Query,
    transport: Transport,
    reply: (answer: Uint8Array) => void,
  ): void {
    const decision = this.#decide(query);
    if (decision === 'forward') {
      this.#send(message, query, transport, reply);
      return;
    }
    const into = new Uint8Array(transport === 'tcp' ? maximumTcpBytes : maximumUdpBytes);
    reply(into.subarray(0, this.#write(into, 0, query, transport, decision)));
  }

  #forward(message: Uint8Array, transport: Transport, reply: (answer: Uint8Array) => void): void {
    const parsed = parseQuery(message);
    if (parsed.kind !== 'query') return;
    const { query } = parsed;
    const isAddress = query.type === recordType.a || query.type === recordType.aaaa;
    const { demand } = this.#options;
    if (demand === undefined || !isAddress || query.name === undefined) {
      this.#send(message, query, transport, reply);
      return;
    }
    if (this.#asking >= maximumAsking) {
      // Not forwarded: the name may be one of the mesh.
      reply(refusal(query, responseCode.serverFailure));
      return;
    }
    const asking = demand(query.name);
    if (asking === undefined) {
      this.#send(message, query, transport, reply);
      return;
    }
    this.#asking++;
    void asking.then(() => {
      this.#asking--;
      this.#answerLater(message, query, transport, reply);
    });
  }

  #send(message: Uint8Array, query: Query, transport: Transport, reply: (answer: Uint8Array) => void): void {
    const { forwarder, observer } = this.#options;
    const limit = transport === 'tcp' ? maximumTcpBytes : udpLimit(query);
    forwarder.forward({
      ...{ message, query, limit },
      done: (answer, outcome) => {
        observer.forwarded(query, transport, outcome);
        if (observer.logs) observer.line(query, describe(outcome, answer), '');
        reply(answer ?? refusal(query, responseCode.serverFailure));
      },
    });
  }
}

function remember(answer: LocalAnswer | undefined, type: AddressType): Remembered | 'forward' {
  if (answer === undefined) return 'forward';
  return {
    answer,
    addresses: packAddresses(answer.addresses, type === 'A' ? 4 : 16),
    cnameLabels: answer.cname === undefined ? undefined : answer.cname.split('.').length,
  };
}

function refusal(query: Query, code: number): Uint8Array {
  const into = new Uint8Array(512);
  return into.subarray(0, writeRefusal(into, 0, query, code));
}

function describe({ reason, server }: ForwardOutcome, answer: Uint8Array | undefined): string {
  const code = answer === undefined ? responseCode.serverFailure : (answer[3] as number) & 0xf;
  const from = server === undefined ? '' : ` by ${server}`;
  return answer === undefined ? `failed: ${reason}${from}` : `forwarded, ${types.code(code)}${from}`;
}
