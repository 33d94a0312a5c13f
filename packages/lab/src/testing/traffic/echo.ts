import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { eventually } from '@kmesh/api/testing';
import type { Host } from '../../pods/host.ts';
import type { Pod } from '../../pods/pod.ts';
import { ending, readAll, readExactly } from '../tunnel/traffic.ts';

/** Fixture F7: the request of an exchange with a doubling server. */
const question = 'hello world';
const answer = question + question;

/** Opens a connection whose socket belongs to the host; half-open is allowed. */
export async function open(from: Host, host: string, port: number): Promise<Socket> {
  const socket = await from.connect({ host, port });
  return socket.on('error', () => undefined);
}

/** Runs one exchange with a doubling server on an open connection. */
export async function exchange(socket: Socket): Promise<void> {
  socket.write(question);
  assert.equal((await readExactly(socket, answer.length)).toString(), answer);
}

/** Runs one exchange with a doubling server on a new connection, closed in order. */
export async function echo(from: Host, host: string, port = 8080): Promise<void> {
  const socket = await open(from, host, port);
  try {
    await exchange(socket);
    const ended = readAll(socket);
    socket.end();
    await ended;
  } finally {
    socket.destroy();
  }
}

/** Waits until the `serve` servers of these hosts have together accepted `more` further connections. */
export async function untilServed(hosts: readonly Host[], more: number): Promise<void> {
  const served = async (): Promise<number> => {
    const counts = (await Promise.all(hosts.map((host) => host.counts()))).flat();
    return counts.reduce((sum, { connections }) => sum + connections, 0);
  };
  const before = await served();
  await eventually(`${more} more connections are served`, async () => (await served()) >= before + more);
}

/** End of a request that may have been refused. */
interface Attempt {
  /** `refused`: no connection; `cut`: ended or reset by the other side; `open`: neither in time. */
  readonly how: 'refused' | 'cut' | 'open';
  /** Everything received. */
  readonly bytes: string;
}

/**
 * Connects, sends a request and reads to the end, or until `enough` bytes have arrived. A reset right after the connect
 * counts as connected.
 */
export async function attempt(
  from: Host,
  host: string,
  port: number,
  request = question,
  milliseconds = 5_000,
  enough = Number.POSITIVE_INFINITY,
): Promise<Attempt> {
  let socket: Socket;
  try {
    socket = await open(from, host, port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { how: code === 'ECONNRESET' ? 'cut' : 'refused', bytes: '' };
  }
  let bytes = '';
  const answered = new Promise<'open'>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.toString('latin1');
      if (bytes.length >= enough) resolve('open');
    });
  });
  socket.write(request);
  const how = (await Promise.race([ending(socket, milliseconds), answered])) === 'open' ? 'open' : 'cut';
  socket.destroy();
  return { how, bytes };
}

/** SPIFFE id of a pod of the trust domain `cluster.local`. */
export function spiffe(pod: Pod): string {
  return `spiffe://cluster.local/ns/${pod.podNamespace}/sa/${pod.serviceAccount}`;
}
