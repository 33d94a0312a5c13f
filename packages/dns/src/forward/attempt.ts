import { Socket } from 'node:net';
import {
  closeDescriptor,
  connectSocket,
  DescriptorWatcher,
  type NetworkNamespace,
  receiveDatagram,
  sendRequestDatagram,
} from '@kmesh/linux';
import { maximumTcpBytes } from '../wire/answer.ts';
import { word } from '../wire/query.ts';
import { judgeUpstream, type UpstreamQuery, type UpstreamVerdict } from '../wire/upstream.ts';

/** Options of one attempt. */
interface AttemptOptions {
  readonly server: string;
  readonly port: number;
  /** Namespace of the pod; `undefined` for the process's own. */
  readonly namespace: NetworkNamespace | undefined;
  readonly mark: number | undefined;
  readonly outgoing: UpstreamQuery;
  readonly timeoutMilliseconds: number;
}

/** Events of an attempt; at most one of `answered` and `failed` is called, once. */
export interface AttemptEvents {
  /** `bytes` belongs to the receiver. */
  answered(bytes: Uint8Array, verdict: 'accepted' | 'case'): void;
  failed(reason: AttemptFailure): void;
  /** Called for each message that was dropped because it is not the answer. */
  rejected(verdict: UpstreamVerdict): void;
}

/** Why an attempt gave no answer. */
export type AttemptFailure = 'unreachable' | 'lying' | 'closed';

/** Wrong messages after which the attempt fails: the server is broken, or its answers are forged. */
const maximumRejected = 16;
/** Shared by all attempts: a datagram is processed before the next one is read. */
const received = Buffer.alloc(maximumTcpBytes + 1);
const EAGAIN = -11;

/** Sends a query over UDP from a dedicated port. Returns a cancel function; after its call, no event is reported. */
export function queryOverUdp(options: AttemptOptions, events: AttemptEvents): () => void {
  const { server: address, port, namespace, mark, outgoing } = options;
  const fd = sendRequestDatagram({ namespace, address, port, mark, payload: outgoing.message });
  let open = true;
  let rejected = 0;
  const close = (): void => {
    if (!open) return;
    open = false;
    release();
  };
  const release = (): void => {
    watcher.close();
    closeDescriptor(fd);
  };
  const read = (): void => {
    while (open) {
      const length = receiveDatagram(fd, received);
      if (length === EAGAIN) return;
      if (length < 0) {
        close();
        events.failed('unreachable');
        return;
      }
      const verdict = judgeUpstream(received.subarray(0, length), outgoing);
      if (verdict === 'accepted' || verdict === 'case') {
        // Answer the client first; closing the socket can wait.
        open = false;
        events.answered(new Uint8Array(received.subarray(0, length)), verdict);
        release();
        return;
      }
      events.rejected(verdict);
      if (++rejected < maximumRejected) continue;
      close();
      events.failed('lying');
    }
  };
  const watcher = new DescriptorWatcher(fd, read);
  watcher.watch({ readable: true, writable: false });
  return close;
}

/** Sends a query over TCP. Returns a cancel function; after its call, no event is reported. */
export function queryOverTcp(options: AttemptOptions, events: AttemptEvents): () => void {
  const { server: address, port, namespace, mark, outgoing, timeoutMilliseconds: timeout } = options;
  const abort = new AbortController();
  let socket: Socket | undefined;
  let over = false;
  const end = (report?: () => void): void => {
    if (over) return;
    over = true;
    abort.abort();
    socket?.destroy();
    report?.();
  };
  const connecting = connectSocket({
    address,
    port,
    timeout,
    signal: abort.signal,
    ...(namespace === undefined ? {} : { namespace }),
    ...(mark === undefined ? {} : { mark }),
  });
  connecting.then(
    (fd) => {
      if (over) {
        closeDescriptor(fd);
        return;
      }
      socket = new Socket({ fd, readable: true, writable: true });
      readAnswer(socket, (bytes) => {
        const verdict = judgeUpstream(bytes, outgoing);
        if (verdict === 'accepted' || verdict === 'case') end(() => events.answered(bytes, 'accepted'));
        else {
          events.rejected(verdict);
          end(() => events.failed('lying'));
        }
      });
      socket.on('error', () => end(() => events.failed('unreachable')));
      socket.on('close', () => end(() => events.failed('closed')));
      const framed = Buffer.allocUnsafe(outgoing.message.length + 2);
      framed.writeUInt16BE(outgoing.message.length);
      framed.set(outgoing.message, 2);
      socket.write(framed);
    },
    () => end(() => events.failed('unreachable')),
  );
  return () => end();
}

/** Collects one message with a length prefix, at most 64 KiB. */
function readAnswer(socket: Socket, done: (message: Uint8Array) => void): void {
  let held: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (held.length < 2) return;
    const length = word(held, 0);
    if (held.length < length + 2) return;
    socket.removeAllListeners('data');
    socket.pause();
    done(new Uint8Array(held.subarray(2, length + 2)));
  });
}
