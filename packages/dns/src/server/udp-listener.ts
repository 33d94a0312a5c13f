import { DatagramBatch, DescriptorWatcher, OwnedDescriptor, retireUdpSocket } from '@kmesh/linux';
import { maximumUdpBytes } from '../wire/answer.ts';

/**
 * Answers one message. Returns the length of the answer written into `into` at `at`, 0 for no answer, or -1 if it
 * called `later`: the function that `later` returned is then called with the answer.
 */
export type Answerer = (
  message: Uint8Array,
  into: Uint8Array,
  at: number,
  later: () => (answer: Uint8Array) => void,
) => number;

const slots = 64;
/** Limit of full batches per turn of the event loop, so that other sockets are served. */
const batchesPerTurn = 4;
const DNS_PORT = 53;

/** Shared by all sockets of the thread: a batch is answered before the next one is received. */
const queries = new DatagramBatch(slots, maximumUdpBytes);
const answers = new DatagramBatch(slots, maximumUdpBytes);
const single = new DatagramBatch(1, maximumUdpBytes);

/** Serves DNS over UDP on a bound socket, which it owns. */
export class UdpListener {
  readonly #fd: number;
  readonly #owner: OwnedDescriptor;
  readonly #answer: Answerer;
  readonly #watcher: DescriptorWatcher;
  #open = true;
  #retired = false;

  constructor(fd: number, answer: Answerer) {
    this.#fd = fd;
    this.#owner = new OwnedDescriptor(fd, 'a DNS socket');
    this.#answer = answer;
    this.#watcher = new DescriptorWatcher(fd, () => this.#read());
    this.#watcher.watch({ readable: true, writable: false });
  }

  /** Leaves new queries to the other sockets of the port, if any; answers received ones. */
  drain(): void {
    if (!this.#open || this.#retired) return;
    this.#retired = true;
    try {
      retireUdpSocket(this.#fd);
    } catch {
      // The pod's loopback is down, for instance because its network was removed before the pod: no more queries
      // arrive.
    }
    this.#read();
    this.#watcher.watch({ readable: false, writable: false });
  }

  /** Closes the socket after answering received queries: another socket of the port may take over. */
  close(): void {
    if (!this.#open) return;
    this.drain();
    this.#open = false;
    this.#watcher.close();
    this.#owner.close();
  }

  #read(): void {
    for (let batch = 0; batch < batchesPerTurn && this.#open; batch++) {
      const received = queries.receive(this.#fd);
      if (received > 0) this.#answerBatch(received);
      if (received < slots) return;
    }
  }

  #answerBatch(received: number): void {
    let ready = 0;
    for (let slot = 0; slot < received; slot++) {
      const length = queries.length(slot);
      if (length <= 0 || isServer(queries.port(slot))) continue;
      const start = queries.offset(slot);
      const message = queries.memory.subarray(start, start + length);
      const written = this.#answer(message, answers.memory, answers.offset(ready), () =>
        this.#reply(queries.address(slot)),
      );
      if (written <= 0) continue;
      answers.setLength(ready, written);
      answers.addressFrom(ready, queries, slot);
      ready++;
    }
    if (ready > 0) answers.send(this.#fd, ready);
  }

  #reply(address: Uint8Array): (answer: Uint8Array) => void {
    return (answer) => {
      if (!this.#open || answer.length > single.payloadBytes) return;
      single.memory.set(answer, single.offset(0));
      single.setLength(0, answer.length);
      single.setAddress(0, address);
      single.send(this.#fd, 1);
    };
  }
}

/** Returns whether a port is another server's: answering its answers could loop forever. */
function isServer(port: number): boolean {
  return port === DNS_PORT || port === 0;
}
