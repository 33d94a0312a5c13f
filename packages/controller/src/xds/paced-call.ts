import { InterceptingCall } from '@grpc/grpc-js';

/**
 * A call that reads the next message only when it is asked for one. Without it a stream reads ahead up to 16 messages,
 * each of up to 200 MiB, while the first is still being applied; with it HTTP/2 flow control holds the sender back.
 */
export class PacedCall extends InterceptingCall {
  #allowed = 0;
  #wanted = 0;

  override startRead(): void {
    this.#wanted++;
    this.#readIfBoth();
  }

  /** Lets one more message in. */
  allowRead(): void {
    this.#allowed++;
    this.#readIfBoth();
  }

  #readIfBoth(): void {
    if (this.#allowed === 0 || this.#wanted === 0) return;
    this.#allowed--;
    this.#wanted--;
    super.startRead();
  }
}
