import { addon } from './addon.ts';
import { alreadyClosed } from './errors.ts';

const forgotten = new FinalizationRegistry<number>((fd) => addon().closeDescriptor(fd));

/**
 * A file descriptor with one owner. It is closed by `close()`, when its owner is garbage, and when the thread that
 * made it ends, whichever comes first.
 */
export class OwnedDescriptor {
  readonly #what: string;
  #fd: number;

  /** Takes ownership of `fd`. `what` names the owner in errors. */
  constructor(fd: number, what: string) {
    addon().ownDescriptor(fd);
    forgotten.register(this, fd, this);
    this.#fd = fd;
    this.#what = what;
  }

  /** The descriptor's number. @throws KmeshError `KMESH_CLOSED` after close. */
  get fd(): number {
    if (this.#fd < 0) throw alreadyClosed(this.#what);
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Closes the descriptor; a second call does nothing. */
  close(): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    forgotten.unregister(this);
    addon().closeDescriptor(fd);
  }

  /** Gives the number away: nothing here closes it any more. */
  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    forgotten.unregister(this);
    addon().disownDescriptor(fd);
    return fd;
  }
}
