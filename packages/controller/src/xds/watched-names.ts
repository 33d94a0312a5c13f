import { xds } from '@kmesh/api';

const typeUrl = xds.addressTypeUrl;

/**
 * The names that the control plane watches for a stream in on-demand mode: those that were requested, and those of
 * resources that it sent. It answers only changes of this set, and pushes a new resource only to subscribers of its own
 * name, not of its address.
 */
export class WatchedNames {
  readonly #mostAbsent: number;
  #watched = new Set<string>();
  /** Those without a resource, the oldest answer first. */
  readonly #absent = new Set<string>();

  /** @param mostAbsent number of names without a resource that stay subscribed: pods may dial and query any number */
  constructor(mostAbsent = 4_096) {
    this.#mostAbsent = mostAbsent;
  }

  has(name: string): boolean {
    return this.#watched.has(name);
  }

  /** Begins a stream whose first request has these names. */
  begin(names: ReadonlySet<string>): void {
    this.#watched = new Set(names);
    this.#absent.clear();
  }

  /** Records a resource or a removal under its own name. */
  settled(name: string, isRemoval: boolean): void {
    this.#watched.add(name);
    this.#absent.delete(name);
    if (isRemoval) this.#absent.add(name);
  }

  /** Returns the requests that get an answer for a name. */
  ask(name: string): readonly Buffer[] {
    const subscribe = xds.DeltaDiscoveryRequest.encode({ typeUrl, resourceNamesSubscribe: [name] });
    if (!this.#watched.has(name)) {
      this.#watched.add(name);
      return [subscribe];
    }
    return [xds.DeltaDiscoveryRequest.encode({ typeUrl, resourceNamesUnsubscribe: [name] }), subscribe];
  }

  /** Returns the request that ends the subscription to the oldest of too many absent names, except awaited ones. */
  forgetAbsent(awaited: Iterable<string>): Buffer | undefined {
    const excess = this.#absent.size - this.#mostAbsent;
    if (excess <= 0) return undefined;
    const kept = new Set(awaited);
    const names = [...this.#absent].slice(0, excess).filter((name) => !kept.has(name));
    for (const name of names) {
      this.#absent.delete(name);
      this.#watched.delete(name);
    }
    if (names.length === 0) return undefined;
    return xds.DeltaDiscoveryRequest.encode({ typeUrl, resourceNamesUnsubscribe: names });
  }
}
