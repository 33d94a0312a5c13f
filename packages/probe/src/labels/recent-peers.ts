import type { ConnectionStart } from '../connection.ts';

/** Entries per pair of workloads: services and ports of one server, and both reporters. */
const PER_PAIR = 8;
const unknown = {};

interface Entry<Value> {
  readonly start: ConnectionStart;
  readonly value: Value;
}

/**
 * Caches a value per connection for similar connections between the same two workloads. Keyed by the objects that
 * name the peers, so that no key is built; an entry is collected with them.
 */
export class RecentByPeers<Value> {
  readonly #isAlike: (known: ConnectionStart, start: ConnectionStart) => boolean;
  #entries = new WeakMap<object, WeakMap<object, Entry<Value>[]>>();

  /** @param isAlike returns whether two connections of one pair of workloads share a value */
  constructor(isAlike: (known: ConnectionStart, start: ConnectionStart) => boolean) {
    this.#isAlike = isAlike;
  }

  /** Returns the value of a connection, made by `make` unless one is cached. */
  of(start: ConnectionStart, make: (start: ConnectionStart) => Value): Value {
    const entries = this.#entriesOf(start);
    for (const entry of entries) if (this.#isAlike(entry.start, start)) return entry.value;
    const value = make(start);
    if (entries.length === PER_PAIR) entries.shift();
    entries.push({ start, value });
    return value;
  }

  forget(): void {
    this.#entries = new WeakMap();
  }

  #entriesOf(start: ConnectionStart): Entry<Value>[] {
    const source: object = start.source ?? unknown;
    const destination: object = start.destination ?? unknown;
    let ofSource = this.#entries.get(source);
    if (ofSource === undefined) {
      ofSource = new WeakMap();
      this.#entries.set(source, ofSource);
    }
    let entries = ofSource.get(destination);
    if (entries === undefined) {
      entries = [];
      ofSource.set(destination, entries);
    }
    return entries;
  }
}

/** Returns whether the same objects name both connections, so that their labels are equal except flags. */
export function isNamedAlike(known: ConnectionStart, start: ConnectionStart): boolean {
  return (
    known.reporter === start.reporter &&
    known.destinationService === start.destinationService &&
    known.securityPolicy === start.securityPolicy &&
    known.sourceIdentity === start.sourceIdentity &&
    known.destinationIdentity === start.destinationIdentity &&
    known.derivedSource === start.derivedSource &&
    known.derivedDestination === start.derivedDestination
  );
}
