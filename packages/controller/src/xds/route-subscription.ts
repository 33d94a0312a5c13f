import { type BackoffSettings, doubledWait, xds } from '@kmesh/api';

/** Whether the control plane sends routes: not asked or not answered yet, sent, or refused. */
export type RoutesState = 'waiting' | 'sent' | 'refused';

interface RouteSubscriptionOptions {
  /** Asks for routes on the stream that runs. */
  readonly ask: () => void;
  /** Types that arrive before routes are asked for. */
  readonly after: readonly string[];
  /** How long the control plane is not asked again for what it refused. */
  readonly refusedMilliseconds: number;
}

/** gRPC statuses by which a control plane refuses: invalid argument, permission denied, unimplemented. */
const refusals: ReadonlySet<number> = new Set([3, 7, 12]);
/** Waits before the next request after streams that ended without an answer and without a refusal. */
const unansweredWait: BackoffSettings = { firstMilliseconds: 500, maximumMilliseconds: 60_000, jitter: 0 };

/**
 * The subscription to routes, which a control plane may refuse by ending the stream with such a status. It is made
 * after everything else has arrived, so that a refusal costs one reconnect. Any other end is no refusal: a control plane that
 * restarts is asked again a little later.
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

  /** Whether routes were asked for on this stream and have not been answered. */
  get isAsking(): boolean {
    return this.#asked && !this.#answered;
  }

  streamBegins(): void {
    this.#arrived.clear();
    this.#asked = false;
    this.#answered = false;
  }

  /** Notes a response that was applied. */
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

  /** Notes the end of a stream with a gRPC status. Returns whether it refuses routes, for the first time or again. */
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
