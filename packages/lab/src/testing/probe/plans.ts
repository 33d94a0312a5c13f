import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../pods/pod.ts';

/** Longer than a delayed acknowledgement: what was received counts as sent before a reset follows. */
const acknowledgedMilliseconds = 250;

type Ending =
  | 'client closes'
  | 'server closes'
  | 'half-close'
  | 'client resets'
  | 'server resets'
  | 'refused';

const endings: readonly Ending[] = [
  'client closes',
  'server closes',
  'half-close',
  'refused',
  'client closes',
  'client resets',
  'server closes',
  'server resets',
];

/** Planned behaviour of one connection, compared with the counts afterwards. */
interface Plan {
  readonly ending: Ending;
  readonly request: number;
  readonly reply: number;
  readonly family: 'v4' | 'v6';
}

/** Returns the plan of connection `index`; the plans cover every ending, many sizes and both families. */
export function planOf(index: number): Plan {
  return {
    ending: endings[index % endings.length] ?? 'client closes',
    // At least the header, by which the server knows what to do.
    request: 16 + ((index * 7919) % 3000),
    reply: 1 + ((index * 104_729) % 5000),
    family: (index >> 3) % 2 === 0 ? 'v4' : 'v6',
  };
}

/** Exact expected counts of these connections. */
export interface Expected {
  readonly all: number;
  readonly established: number;
  readonly requests: number;
  readonly replies: number;
  count(ending: Ending): number;
}

export function expectedOf(plans: readonly Plan[]): Expected {
  const open = plans.filter(({ ending }) => ending !== 'refused');
  const sum = (field: 'request' | 'reply') => open.reduce((total, plan) => total + plan[field], 0);
  return {
    all: plans.length,
    established: open.length,
    requests: sum('request'),
    replies: sum('reply'),
    count: (ending) => plans.filter((plan) => plan.ending === ending).length,
  };
}

/** Reads until `bytes` bytes have arrived or the peer has ended. Returns the number of bytes. */
function received(socket: Socket, bytes: number): Promise<number> {
  return new Promise((resolve) => {
    let count = 0;
    const done = () => resolve(count);
    socket.on('data', (data) => {
      count += data.length;
      if (count >= bytes) done();
    });
    socket.once('end', done);
    socket.once('close', done);
  });
}

/** The server's part: the first 16 bytes of a request are the number of the connection. */
export function servePlan(socket: Socket): void {
  socket.on('error', () => undefined);
  let plan: Plan | undefined;
  let count = 0;
  let header = '';
  socket.on('data', (data) => {
    if (header.length < 16) header += data.toString('latin1').slice(0, 16 - header.length);
    if (plan === undefined && header.length === 16) plan = planOf(Number(header));
    count += data.length;
    if (plan === undefined || count !== plan.request) return;
    const reply = Buffer.alloc(plan.reply, 'r');
    if (plan.ending === 'server closes') socket.end(reply);
    else if (plan.ending !== 'half-close') socket.write(reply);
    if (plan.ending === 'server resets') setTimeout(() => socket.resetAndDestroy(), acknowledgedMilliseconds);
  });
  socket.on('end', () => {
    if (plan?.ending === 'half-close') socket.end(Buffer.alloc(plan.reply, 'r'));
    else socket.end();
  });
}

/** Destination of the connections of a run: port 80 is served, 81 is refused. */
interface Target {
  readonly client: Pod;
  readonly host: { readonly v4: string; readonly v6: string };
  /** Whether the client's own connect fails; behind a proxy it succeeds, and the connection ends. */
  readonly refusesConnect: boolean;
}

/** Resolves when a connection that is about to be ended or reset has ended. */
export async function ended(connecting: Promise<Socket>): Promise<void> {
  let socket: Socket;
  try {
    socket = await connecting;
  } catch (error) {
    // Reset before this process had it.
    assert.match(String(error), /ECONNRESET|ENOTCONN/);
    return;
  }
  if (socket.closed) return;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  socket.on('end', () => socket.end());
  if (socket.readableEnded) socket.end();
  socket.resume();
  await closed;
}

/** Runs connection `index`. */
async function converse({ client, host, refusesConnect }: Target, index: number): Promise<void> {
  const plan = planOf(index);
  const to = { host: host[plan.family], timeoutMs: 20_000 };
  if (plan.ending === 'refused') {
    const attempt = client.connect({ ...to, port: 81 });
    if (refusesConnect) await assert.rejects(attempt);
    else await ended(attempt);
    return;
  }
  const socket = await client.connect({ ...to, port: 80 });
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const reply = received(socket, plan.reply);
  socket.write(String(index).padStart(16).padEnd(plan.request, 'q'));
  if (plan.ending === 'half-close') socket.end();
  assert.equal(await reply, plan.reply, `${index} ${plan.ending}`);
  if (plan.ending === 'client resets') {
    await sleep(acknowledgedMilliseconds);
    socket.resetAndDestroy();
  } else if (plan.ending !== 'server resets') {
    socket.end();
  } else {
    // Over HBONE a reset behind an answer arrives as its end (docs/endings.md, END-06).
    if (socket.readableEnded) socket.end();
    socket.once('end', () => socket.end());
  }
  await closed;
}

/** Runs connections 0 to `count`, `inFlight` at a time. */
export async function converseAll(target: Target, count: number, inFlight: number): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      try {
        while (next < count) await converse(target, next++);
      } finally {
        // After a failure, start no more.
        next = Math.max(next, count);
      }
    }),
  );
}
