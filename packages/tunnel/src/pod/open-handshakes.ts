/** Limit of handshakes in progress on the node: each holds 55 KiB for up to 10 s, also of clients without a certificate. */
const MAXIMUM = 2_048;
/** A peer with more than these is the first whose handshakes end. */
const MODEST = 64;

/**
 * The TLS handshakes in progress of the HBONE connections that peers open to the pods of the node. None is refused: one
 * that is honest takes milliseconds, so at the limit the oldest ends, of the same peer if that has many.
 */
export class OpenHandshakes<Handshake> {
  /** In order of their beginning. */
  readonly #all = new Map<Handshake, string>();
  readonly #byPeer = new Map<string, Set<Handshake>>();

  /** Adds a handshake of the peer with this address; returns one that has to end for it. */
  begin(handshake: Handshake, peer: string): Handshake | undefined {
    const own = this.#byPeer.get(peer) ?? new Set();
    const candidates = this.#all.size < MAXIMUM ? [] : (own.size > MODEST ? own : this.#all).keys();
    const [oldest] = candidates;
    if (oldest !== undefined) this.end(oldest);
    own.add(handshake);
    this.#byPeer.set(peer, own);
    this.#all.set(handshake, peer);
    return oldest;
  }

  /** Removes a handshake; without effect if it has ended already. */
  end(handshake: Handshake): void {
    const peer = this.#all.get(handshake);
    if (peer === undefined) return;
    this.#all.delete(handshake);
    const own = this.#byPeer.get(peer);
    own?.delete(handshake);
    if (own?.size === 0) this.#byPeer.delete(peer);
  }
}
