import type { Socket } from 'node:net';

/** One direction of a connection: sends bytes that their place determines, and checks them where they arrive. */
class NumberedStream {
  /** Resolves when the sender's end has arrived. */
  readonly ended: Promise<void>;
  readonly #name: string;
  readonly #from: Socket;
  readonly #waiting: { readonly until: number; done(): void; failed(error: Error): void }[] = [];
  #sent = 0;
  #received = 0;
  #fault: string | undefined;

  constructor(name: string, from: Socket, to: Socket) {
    this.#name = name;
    this.#from = from;
    this.ended = new Promise((resolve, reject) => {
      to.once('end', resolve);
      to.once('error', (error) => {
        reject(error);
        this.#fail(`${name}: ${error.message}`);
      });
    });
    // Whoever waits for bytes is told first, and need not wait for the end.
    this.ended.catch(() => undefined);
    to.on('data', (chunk: Buffer) => this.#check(chunk));
  }

  /** What was wrong with the bytes, if anything was. */
  get fault(): string | undefined {
    if (this.#fault !== undefined || this.#received === this.#sent) return this.#fault;
    return `${this.#name}: ${this.#received} of ${this.#sent} bytes arrived`;
  }

  /** Sends some more; resolves when they have arrived, rejects when a byte is not what was sent. */
  send(size: number): Promise<void> {
    const chunk = new Uint8Array(size);
    for (let index = 0; index < size; index++) chunk[index] = byteAt(this.#sent + index);
    this.#sent += size;
    const arrived = new Promise<void>((done, failed) => {
      this.#waiting.push({ until: this.#sent, done, failed });
    });
    this.#from.write(chunk);
    return arrived;
  }

  #check(chunk: Buffer): void {
    for (const byte of chunk) {
      if (byte !== byteAt(this.#received) || this.#received >= this.#sent) {
        this.#fail(`${this.#name}: byte ${this.#received} is not the one that was sent`);
        return;
      }
      this.#received += 1;
    }
    while (this.#waiting[0] !== undefined && this.#waiting[0].until <= this.#received)
      this.#waiting.shift()?.done();
  }

  #fail(fault: string): void {
    this.#fault ??= fault;
    for (const { failed } of this.#waiting.splice(0)) failed(new Error(this.#fault));
  }
}

/** Neighbours differ, and so do places that are a power of two apart. */
function byteAt(place: number): number {
  return (place * 131 + (place >>> 8) * 17 + (place >>> 16) * 7) & 0xff;
}
