/**
 * A decision that the engine applies itself to connections similar to the one it was made for, until
 * {@link Plans.withdraw}. Admitted connections are reported afterwards, within milliseconds.
 */
export interface Plan {
  /**
   * A connection was admitted.
   *
   * @param stale whether the plan was withdrawn since: the connection must be decided again
   */
  served(served: Served, stale: boolean): void;
  /** A connection was admitted and has ended in order since. */
  passed(passed: Passed): void;
}

/** A connection that a plan admitted. */
interface Served {
  readonly flow: number;
  /** 0 for a request. */
  readonly clientPort: number;
  /** Time since it was admitted. */
  readonly milliseconds: number;
}

/** A connection that a plan admitted, at its end. */
export interface Passed {
  /** 0 for a request. */
  readonly clientPort: number;
  /** Duration of the connection. */
  readonly milliseconds: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Maximum number of plans of one engine; beyond it all are dropped. */
const MAXIMUM_PLANS = 4_096;

/**
 * The plans of one engine, by number. Withdrawn ones stay known while events of connections that they admitted may
 * still be queued.
 */
export class Plans {
  readonly #abort: (flow: number) => void;
  readonly #onError: (error: unknown) => void;
  readonly #plans = new Map<number, Plan>();
  readonly #takenBack = new Map<number, Plan>();
  #delivering = 0;
  #last = 0;
  #version = 0;

  /** @param abort cuts a connection that no plan accounts for: nothing would judge it */
  constructor(abort: (flow: number) => void, onError: (error: unknown) => void) {
    this.#abort = abort;
    this.#onError = onError;
  }

  get version(): number {
    return this.#version;
  }

  get full(): boolean {
    return this.#plans.size >= MAXIMUM_PLANS;
  }

  /** Registers a plan and returns its number. */
  add(plan: Plan): number {
    this.#last += 1;
    this.#plans.set(this.#last, plan);
    return this.#last;
  }

  /** Withdraws all plans and begins the next version. Their last events come in a delivery that follows. */
  withdraw(): void {
    this.#version += 1;
    for (const [number, plan] of this.#plans) this.#takenBack.set(number, plan);
    this.#plans.clear();
  }

  /** Runs `deliver`, which reports events; withdrawn plans are forgotten after the outermost delivery. */
  delivering(deliver: () => void): void {
    this.#delivering += 1;
    deliver();
    this.#delivering -= 1;
    if (this.#delivering === 0) this.#takenBack.clear();
  }

  /** Reports a connection that plan `number` admitted. */
  served(number: number, served: Served): void {
    const known = this.#plans.get(number);
    const plan = known ?? this.#takenBack.get(number);
    try {
      if (plan === undefined) throw new Error(`the engine applied the unknown plan ${number}`);
      plan.served(served, known === undefined);
    } catch (error) {
      this.#abort(served.flow);
      this.#onError(error);
    }
  }

  /** Reports a connection that plan `number` admitted and that has ended. */
  passed(number: number, passed: Passed): void {
    try {
      const plan = this.#plans.get(number) ?? this.#takenBack.get(number);
      if (plan === undefined) throw new Error(`the engine followed plan ${number}, which is not known`);
      plan.passed(passed);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Reports the connections in `admitted`, seven numbers each, as the engine returns them when plans are withdrawn. */
  reportAdmitted(admitted: readonly number[]): void {
    for (let at = 0; at + 6 < admitted.length; at += 7) {
      const [flow = 0, plan = 0, clientPort = 0, milliseconds = 0, ended = 0, bytesUp = 0, bytesDown = 0] =
        admitted.slice(at, at + 7);
      if (ended === 0) this.served(plan, { flow, clientPort, milliseconds });
      else this.passed(plan, { clientPort, milliseconds, bytesUp, bytesDown });
    }
  }
}
