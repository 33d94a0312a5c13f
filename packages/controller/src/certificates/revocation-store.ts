import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from '@kmesh/api';
import { type Clock, systemClock } from './clock.ts';
import { type DirectoryWatchOptions, watchDirectoryOf } from './directory-watch.ts';
import {
  findRevocation,
  parseRevocationLists,
  type Revocation,
  type RevocationList,
} from './revocation-list.ts';

/**
 * `off`: no path is set. `missing`: the file does not exist yet. `active`: lists are checked, possibly none.
 * `disabled`: the file was unusable at start; nothing is checked until it is usable.
 */
type RevocationState = 'off' | 'missing' | 'active' | 'disabled';

interface RevocationStoreOptions {
  /** `CRL_PATH`. */
  readonly path: string | undefined;
  readonly logger: Logger;
  readonly watch?: DirectoryWatchOptions;
  readonly clock?: Clock;
}

/** The revocation lists of `CRL_PATH`, read again when the file changes. Ambient contract 5. */
export class RevocationStore {
  readonly #options: RevocationStoreOptions;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  readonly #stopWatching: () => void;
  #lists: readonly RevocationList[] = [];
  #state: RevocationState = 'off';
  #loaded: Buffer | undefined;

  constructor(options: RevocationStoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { path } = options;
    if (path === undefined) {
      this.#stopWatching = () => undefined;
      return;
    }
    this.#load(path);
    this.#stopWatching = watchDirectoryOf(path, () => this.#load(path), options.watch);
  }

  get state(): RevocationState {
    return this.#state;
  }

  /** Number of lists in force. */
  get size(): number {
    return this.#lists.length;
  }

  /** The lists in force, as in the file (PEM or DER), for the native code that checks handshakes. */
  get lists(): readonly Uint8Array[] {
    return this.#lists.length === 0 || this.#loaded === undefined ? [] : [this.#loaded];
  }

  /**
   * Returns the revoked certificate of a peer's chain, if any: for handshakes, and for open connections after a change.
   *
   * @param chain leaf first, as certificates or DER.
   * @param roots the trust bundle that the chain was verified against.
   */
  findRevoked(
    chain: readonly (X509Certificate | Buffer)[],
    roots: readonly X509Certificate[] = [],
  ): Revocation | undefined {
    if (this.#lists.length === 0) return undefined;
    const certificates = chain.map((item) =>
      item instanceof X509Certificate ? item : new X509Certificate(item),
    );
    return findRevocation(this.#lists, certificates, roots);
  }

  /** Returns whether {@link findRevoked} finds one. */
  isRevoked(chain: readonly (X509Certificate | Buffer)[], roots: readonly X509Certificate[] = []): boolean {
    return this.findRevoked(chain, roots) !== undefined;
  }

  /** Calls `listener` after each load of new lists. Returns an unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stopWatching();
    this.#listeners.clear();
  }

  #load(path: string): void {
    let content: Buffer;
    try {
      content = readFileSync(path);
    } catch (cause) {
      if (this.#loaded === undefined) this.#state = 'missing';
      this.#warn(path, cause, this.#keptText('checks start when the file appears'));
      return;
    }
    if (this.#loaded?.equals(content) === true) return;
    let lists: RevocationList[];
    try {
      lists = parseRevocationLists(content);
    } catch (cause) {
      if (this.#loaded === undefined) this.#state = 'disabled';
      this.#warn(path, cause, this.#keptText('revocation checks are off until it holds PEM or DER lists'));
      return;
    }
    this.#loaded = content;
    this.#lists = lists;
    this.#state = 'active';
    this.#warnExpired(path);
    const revoked = lists.reduce((sum, list) => sum + list.revoked.size, 0);
    this.#options.logger.info('revocation lists loaded', { path, lists: lists.length, revoked });
    for (const listener of this.#listeners) listener();
  }

  #keptText(otherwise: string): string {
    return this.#loaded === undefined ? otherwise : 'the lists loaded before stay in force';
  }

  #warn(path: string, cause: unknown, consequence: string): void {
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.#options.logger.warn(`CRL_PATH: cannot use the file; ${consequence}`, { path, error: reason });
  }

  #warnExpired(path: string): void {
    const now = this.#clock.now();
    const expired = this.#lists.filter(
      (list) => list.nextUpdate !== undefined && list.nextUpdate < now,
    ).length;
    if (expired === 0) return;
    this.#options.logger.warn('CRL_PATH: revocation lists are past their next update; they stay in use', {
      path,
      lists: expired,
    });
  }
}
