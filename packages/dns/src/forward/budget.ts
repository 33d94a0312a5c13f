/** Bounds what is open at a time: over all pods, and for each of them. */
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

  /** Takes one; false when there is none left here or above. */
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
