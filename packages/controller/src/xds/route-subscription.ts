import { type BackoffSettings, doubledWait, xds } from '@kmesh/api';

/** Whether the control plane sends routes: no answer yet, sent, or refused. */
export type RoutesState = 'waiting' | 'sent' | 'refused';

interface RouteSubscriptionOptions {
  /** Requests routes on the current stream. */
  readonly ask: () => void;
  /** Types that must arrive before routes are requested. */
  readonly after: readonly string[];
  /** Delay before routes are requested again after a refusal. */
  readonly refusedMilliseconds: number;
}

/** gRPC statuses of a refusal: invalid argument, permission denied, unimplemented. */
const refusals: ReadonlySet<number> = new Set([3, 7, 12]);
/** Delays before the next request after streams that ended with neither an answer nor a refusal. */
const unansweredWait: BackoffSettings = { firstMilliseconds: 500, maximumMilliseconds: 60_000, jitter: 0 };

/**
 * The subscription to routes, which a control plane may refuse by ending the stream with one of these statuses. Routes
 * are requested after all other types have arrived, so that a refusal costs only one reconnect. Any other end is not a
 * refusal: after a restart of the control plane, they are requested again a little later.
 */
export class RouteSubscription {
  readonly #options: RouteSubscriptionOptions;
  readonly #arrived = new Set<string>();
  #state: RoutesState = 'waiting';
  #asked = false;
  #answered = false;
  #unanswered = 0;
  #pause: NodeJS.Timeout | undefined;

  constructor(options: RouteSubscriptionOptions) {
    this.#options = options;
  }

  get state(): RoutesState {
    return this.#state;
  }

  /** Whether routes were requested on this stream and not answered yet. */
  get isAsking(): boolean {
    return this.#asked && !this.#answered;
  }

  streamBegins(): void {
    this.#arrived.clear();
    this.#asked = false;
    this.#answered = false;
  }

  /** Records an applied response. */
  responded(typeUrl: string): void {
    if (typeUrl === xds.virtualServiceTypeUrl) {
      this.#answered = true;
      this.#unanswered = 0;
      this.#state = 'sent';
      return;
    }
    this.#arrived.add(typeUrl);
    this.#askIfDue();
  }

  /** Records the end of a stream with a gRPC status. Returns whether it refuses routes, for the first time or again. */
  streamEnded(code: number | undefined): 'no' | 'first' | 'again' {
    const unanswered = this.#asked && !this.#answered;
    this.#arrived.clear();
    if (!unanswered) return 'no';
    if (code === undefined || !refusals.has(code)) {
      this.#pauseFor(doubledWait(unansweredWait, ++this.#unanswered));
      return 'no';
    }
    this.#pauseFor(this.#options.refusedMilliseconds);
    const before = this.#state;
    this.#state = 'refused';
    return before === 'refused' ? 'again' : 'first';
  }

  close(): void {
    clearTimeout(this.#pause);
  }

  #pauseFor(milliseconds: number): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#askIfDue();
    }, milliseconds).unref();
  }

  #askIfDue(): void {
    if (this.#asked || this.#pause !== undefined || this.#arrived.size < this.#options.after.length) return;
    this.#asked = true;
    this.#options.ask();
  }
}
