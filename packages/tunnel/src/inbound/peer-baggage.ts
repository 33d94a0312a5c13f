import type { Identity } from '@kmesh/api';
import { type Baggage, formatIdentityUri, parseBaggage } from '@kmesh/orchestration';

/** Maximum number of descriptions of one identity within an hour; each is a set of metric series. */
const MAXIMUM_PER_IDENTITY = 16;
const MAXIMUM_IDENTITIES = 4_096;
const FORGET_MILLISECONDS = 3_600_000;
/** Longer than any description of a workload within the limits of {@link VALUE}. */
const MAXIMUM_LENGTH = 2_048;
/** Characters that Kubernetes allows in names, labels and regions; 253 is the length of the longest name. */
const VALUE = /^[\w.:/+-]{1,253}$/;

interface Known {
  readonly baggage: Baggage;
  usedAt: number;
}

/** Descriptions that peers sent, by identity. Returned records are shared: labels are cached by object identity. */
interface KnownPeer {
  readonly byText: Map<string, Known>;
  readonly other: Baggage;
}

/**
 * Descriptions that peers send in `baggage` (contract 6.3), within limits of trust and memory: a certificate proves
 * namespace and service account; the rest is unproven.
 */
export class PeerBaggage {
  readonly #peers = new Map<string, KnownPeer>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Returns the description in the `baggage` lines of a peer with this identity, always with the namespace of its
   * certificate. `undefined` without an identity or without a description. Values with characters or lengths that no
   * name has count as unset. A peer that had 16 descriptions within an hour becomes `other`.
   *
   * @param first the first description on the same connection, if any: a proxy's connection belongs to one workload, so
   * a differing description becomes `other` too
   */
  of(lines: readonly string[], identity: Identity | undefined, first?: Baggage): Baggage | undefined {
    if (identity === undefined || lines.length === 0) return undefined;
    const peer = this.#peerOf(identity);
    const text = lines.join(',');
    const known = peer.byText.get(text);
    if (known !== undefined) {
      known.usedAt = this.#now();
      return first === undefined || first === known.baggage ? known.baggage : peer.other;
    }
    const baggage = text.length > MAXIMUM_LENGTH ? undefined : believable(text, identity);
    if (baggage === undefined) return undefined;
    if (first !== undefined || !this.#makeRoom(peer.byText)) return peer.other;
    peer.byText.set(text, { baggage, usedAt: this.#now() });
    return baggage;
  }

  #peerOf(identity: Identity): KnownPeer {
    const key = formatIdentityUri(identity);
    let peer = this.#peers.get(key);
    if (peer === undefined) {
      if (this.#peers.size >= MAXIMUM_IDENTITIES) {
        for (const oldest of this.#peers.keys()) {
          this.#peers.delete(oldest);
          break;
        }
      }
      peer = {
        byText: new Map(),
        other: { namespace: identity.namespace, workloadName: 'other', serviceName: 'other' },
      };
      this.#peers.set(key, peer);
    }
    return peer;
  }

  #makeRoom(byText: Map<string, Known>): boolean {
    if (byText.size < MAXIMUM_PER_IDENTITY) return true;
    const oldest = this.#now() - FORGET_MILLISECONDS;
    for (const [text, { usedAt }] of byText) if (usedAt < oldest) byText.delete(text);
    return byText.size < MAXIMUM_PER_IDENTITY;
  }
}

function believable(text: string, identity: Identity): Baggage | undefined {
  const said = parseBaggage(text);
  if (said === undefined) return undefined;
  const entries = Object.entries(said).map(([key, value]) => [
    key,
    value !== undefined && VALUE.test(value) ? value : undefined,
  ]);
  return { ...(Object.fromEntries(entries) as Baggage), namespace: identity.namespace };
}
