import type { NetworkNamespace } from '@kmesh/linux';
import { flag, HEADER_BYTES, type Query, responseCode, word } from '../wire/query.ts';
import { clientAnswer, upstreamQuery } from '../wire/upstream.ts';
import { type AttemptEvents, type AttemptFailure, queryOverTcp, queryOverUdp } from './attempt.ts';

/** A query for the pod's resolvers. */
interface ForwardRequest {
  /** The client's message; must not be reused before the answer. */
  readonly message: Uint8Array;
  /** Parsed from `message`. */
  readonly query: Query;
  /** Longest answer, in bytes. */
  readonly limit: number;
  /** Called once; with `undefined` if there is no answer. */
  readonly done: (answer: Uint8Array | undefined, outcome: ForwardOutcome) => void;
}

/** How a forwarded query ended, for metrics and log. */
export interface ForwardOutcome {
  /** `joined`: answered together with an equal pending query. */
  readonly reason: 'answered' | 'joined' | 'timeout' | AttemptFailure | 'limit' | 'no resolver';
  /** The resolver that answered, or the last one queried. */
  readonly server: string | undefined;
  readonly seconds: number;
}

/** Options of {@link Forwarder}. */
interface ForwarderOptions {
  readonly namespace: NetworkNamespace | undefined;
  readonly mark: number | undefined;
  /** Shared by all pods. */
  readonly budget: Budget;
  /** Resolvers in the order of their resolv.conf. */
  readonly servers: () => readonly string[];
  /** Port of the resolvers: 53; only tests change it. */
  readonly port: number;
  readonly onRejected: (server: string, verdict: string) => void;
}

/** Limit of pending queries per pod; more are refused, so that a dead resolver does not affect other pods. */
const maximumQueriesPerPod = 256;
/** Limit of queries that wait for one answer; more are refused. */
const maximumJoined = 64;
const deadlineMilliseconds = 5_000;
/** Delays before the second, third and fourth datagram without an answer, by the number of resolvers. */
const retryMilliseconds = { one: [1_000, 1_500], several: [400, 800, 1_300] } as const;
/** How long a failed resolver is queried after the others. */
const penaltyMilliseconds = 10_000;

/**
 * Forwards queries of one pod to its resolvers (contract 12). One answer serves all equal queries that are pending,
 * which also ends loops: a query that comes back to this proxy joins itself.
 */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #budget: Budget;
  readonly #jobs = new Map<string, Job>();
  /** Resolver → end of its penalty. */
  readonly #penalties = new Map<string, number>();
  #closed = false;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#budget = new Budget(maximumQueriesPerPod, options.budget);
  }

  get pending(): number {
    return this.#jobs.size;
  }

  forward(request: ForwardRequest): void {
    if (this.#closed) {
      request.done(undefined, { reason: 'closed', server: undefined, seconds: 0 });
      return;
    }
    const key = jobKey(request);
    const running = this.#jobs.get(key);
    if (running !== undefined) {
      if (running.requests.length < maximumJoined) running.requests.push(request);
      else request.done(undefined, { reason: 'limit', server: undefined, seconds: 0 });
      return;
    }
    const servers = this.#ordered();
    if (servers.length === 0 || !this.#budget.take()) {
      const reason = servers.length === 0 ? 'no resolver' : 'limit';
      request.done(undefined, { reason, server: undefined, seconds: 0 });
      return;
    }
    const job = new Job(request, servers, this.#options, {
      ended: () => {
        this.#jobs.delete(key);
        this.#budget.giveBack();
      },
      failed: (server) => this.#penalties.set(server, performance.now() + penaltyMilliseconds),
      answered: (server) => this.#penalties.delete(server),
    });
    this.#jobs.set(key, job);
    job.start();
  }

  /** Ends pending queries, and those that follow on their connections, without an answer. */
  close(): void {
    this.#closed = true;
    for (const job of [...this.#jobs.values()]) job.finish(undefined, 'closed');
  }

  #ordered(): string[] {
    const servers = [...this.#options.servers()];
    if (this.#penalties.size === 0) return servers;
    const now = performance.now();
    const isLate = (server: string): number => ((this.#penalties.get(server) ?? 0) > now ? 1 : 0);
    return servers.sort((left, right) => isLate(left) - isLate(right));
  }
}

interface JobEvents {
  ended(): void;
  failed(server: string): void;
  answered(server: string): void;
}

/** One pending query to the resolvers of one pod. */
class Job {
  readonly requests: ForwardRequest[];
  readonly #servers: readonly string[];
  readonly #options: ForwarderOptions;
  readonly #events: JobEvents;
  readonly #began = performance.now();
  readonly #cancels = new Set<() => void>();
  readonly #timers: NodeJS.Timeout[] = [];
  /** Attempts without a result yet. */
  #open = 0;
  /** Number of attempts so far; they take the servers in turn. */
  #begun = 0;
  /** Answer if no better one comes: a refusal, or a truncated answer. */
  #fallback: { readonly bytes: Uint8Array; readonly server: string } | undefined;
  #lastServer: string | undefined;
  #overTcp = false;
  #over = false;

  constructor(
    request: ForwardRequest,
    servers: readonly string[],
    options: ForwarderOptions,
    events: JobEvents,
  ) {
    this.requests = [request];
    this.#servers = servers;
    this.#options = options;
    this.#events = events;
  }

  start(): void {
    this.#queryNext();
    if (this.#over) return;
    this.#timers.push(setTimeout(() => this.#giveUp('timeout'), deadlineMilliseconds));
    this.#retryLater(0);
  }

  finish(answer: Uint8Array | undefined, reason: ForwardOutcome['reason'], server = this.#lastServer): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.ended();
    const seconds = (performance.now() - this.#began) / 1_000;
    this.requests.forEach(({ query, limit, done }, index) => {
      const outcome = {
        reason: index > 0 && answer !== undefined ? 'joined' : reason,
        server,
        seconds,
      } as const;
      done(answer === undefined ? undefined : clientAnswer(new Uint8Array(answer), query, limit), outcome);
    });
    // After the answers, because clients wait for those.
    for (const timer of this.#timers) clearTimeout(timer);
    for (const cancel of this.#cancels) cancel();
  }

  #retryLater(step: number): void {
    const steps = this.#servers.length > 1 ? retryMilliseconds.several : retryMilliseconds.one;
    const wait = steps[step];
    if (wait === undefined) return;
    this.#timers.push(
      setTimeout(() => {
        if (this.#overTcp) return;
        if (this.#lastServer !== undefined) this.#events.failed(this.#lastServer);
        this.#retryLater(step + 1);
        this.#queryNext();
      }, wait),
    );
  }

  #queryNext(): void {
    const server = this.#servers[this.#begun % this.#servers.length];
    if (this.#over || server === undefined) return;
    this.#begun++;
    this.#queryServer(server, queryOverUdp);
  }

  #queryServer(server: string, how: typeof queryOverUdp): void {
    const [first] = this.requests;
    if (first === undefined) return;
    this.#lastServer = server;
    const { namespace, mark, port } = this.#options;
    const outgoing = upstreamQuery(first.message, first.query);
    this.#open++;
    let cancel: (() => void) | undefined;
    const settle = (): void => {
      this.#open--;
      if (cancel !== undefined) this.#cancels.delete(cancel);
    };
    const events: AttemptEvents = {
      rejected: (verdict) => this.#options.onRejected(server, verdict),
      failed: (reason) => {
        settle();
        this.#attemptFailed(server, reason);
      },
      answered: (bytes, verdict) => {
        settle();
        this.#answered(server, bytes, { verdict, payload: outgoing.payload, overTcp: how === queryOverTcp });
      },
    };
    try {
      cancel = how(
        { server, port, namespace, mark, outgoing, timeoutMilliseconds: deadlineMilliseconds },
        events,
      );
      this.#cancels.add(cancel);
    } catch {
      // No route of that family in the pod, or no descriptor left.
      events.failed('unreachable');
    }
  }

  #answered(
    server: string,
    bytes: Uint8Array,
    how: { readonly verdict: 'accepted' | 'case'; readonly payload: number; readonly overTcp: boolean },
  ): void {
    if (this.#over) return;
    const wantsWhole = this.requests.some(({ limit }) => limit > how.payload);
    const truncated = (word(bytes, 2) & flag.truncated) !== 0;
    if (!how.overTcp && (how.verdict === 'case' || (truncated && wantsWhole))) {
      if (how.verdict === 'case') this.#options.onRejected(server, 'case');
      else this.#fallback = { bytes, server };
      // An answer over TCP cannot be forged without seeing the query.
      if (!this.#overTcp) {
        this.#overTcp = true;
        this.#queryServer(server, queryOverTcp);
      }
      return;
    }
    const code = word(bytes, 2) & 0xf;
    if (refusals.has(code) && this.#begun < this.#servers.length && !this.#overTcp) {
      this.#fallback = { bytes, server };
      this.#queryNext();
      return;
    }
    if (refusals.has(code) && this.#open > 0) {
      this.#fallback ??= { bytes, server };
      return;
    }
    this.#events.answered(server);
    this.finish(bytes, 'answered', server);
  }

  #attemptFailed(server: string, reason: AttemptFailure): void {
    if (this.#over) return;
    this.#events.failed(server);
    if (this.#overTcp && this.#open === 0) this.#giveUp(reason);
    else if (!this.#overTcp && this.#begun < this.#servers.length) this.#queryNext();
    else if (this.#open === 0) this.#giveUp(reason);
  }

  #giveUp(reason: ForwardOutcome['reason']): void {
    if (this.#fallback !== undefined) this.finish(this.#fallback.bytes, 'answered', this.#fallback.server);
    else this.finish(undefined, reason);
  }
}

/** Response codes after which another resolver is tried. */
const refusals: ReadonlySet<number> = new Set([
  responseCode.formatError,
  responseCode.serverFailure,
  responseCode.notImplemented,
  responseCode.refused,
]);

/**
 * Returns everything that an answer depends on: flags, lower-case question and the rest of the message, without the id.
 */
function jobKey({ message, query, limit }: ForwardRequest): string {
  const bytes = Buffer.from(message);
  bytes.fill(0, 0, 2);
  const end = HEADER_BYTES + query.question.length - 4;
  for (let index = HEADER_BYTES; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte >= 0x41 && byte <= 0x5a) bytes[index] = byte + 32;
  }
  return `${limit > 4_096 ? 'tcp' : 'udp'}${bytes.toString('latin1')}`;
}

/** Limits the number of pending queries, overall and per pod. */
export class Budget {
  readonly #parent: Budget | undefined;
  readonly #most: number;
  #used = 0;

  constructor(most: number, parent?: Budget) {
    this.#most = most;
    this.#parent = parent;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes one; returns false if none is left here or in the parent. */
  take(): boolean {
    if (this.#used >= this.#most) return false;
    if (this.#parent !== undefined && !this.#parent.take()) return false;
    this.#used++;
    return true;
  }

  giveBack(): void {
    this.#used--;
    this.#parent?.giveBack();
  }
}
