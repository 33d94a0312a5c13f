import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { type FrameStream, http2Code } from '../../peers/frames.ts';
import type { PeerIdentity } from '../../peers/hbone-client.ts';
import { serveRudeWaypoint } from '../../peers/rude-peer.ts';
import type { Pod } from '../../pods/pod.ts';
import { startTestMesh } from './mesh.ts';
import { connect } from './traffic.ts';

/** One way for a waypoint to end an exchange after its bytes, and the result that the client must see. */
interface Way {
  readonly name: string;
  /** Whether the last DATA carries END_STREAM. */
  readonly endStream: boolean;
  readonly after: (stream: FrameStream) => void;
  readonly end: 'FIN' | 'RST';
  /** Also closes TCP: closing a socket with unread data makes the kernel discard its unsent data. */
  readonly closes?: true;
}

const ways: readonly Way[] = [
  { name: 'END_STREAM', endStream: true, after: () => undefined, end: 'FIN' },
  ...[http2Code.noError, http2Code.cancel, http2Code.connectError, http2Code.internalError].map((code) => ({
    name: `END_STREAM, RST_STREAM ${code}`,
    endStream: true,
    after: (stream: FrameStream) => stream.reset(code),
    end: 'FIN' as const,
  })),
  ...[http2Code.noError, http2Code.cancel, http2Code.connectError].map((code) => ({
    name: `RST_STREAM ${code}`,
    endStream: false,
    after: (stream: FrameStream) => stream.reset(code),
    end: 'FIN' as const,
  })),
  {
    name: 'RST_STREAM 2',
    endStream: false,
    after: (stream) => stream.reset(http2Code.internalError),
    end: 'RST',
  },
  {
    name: 'GOAWAY, END_STREAM, RST_STREAM 0',
    endStream: true,
    after: (stream) => {
      stream.connection.goaway(stream.id, 0);
      stream.reset(0);
    },
    end: 'FIN',
  },
  {
    name: 'close_notify',
    endStream: false,
    after: (stream) => stream.connection.end(),
    end: 'RST',
    closes: true,
  },
  { name: 'FIN', endStream: false, after: (stream) => stream.connection.cut(), end: 'RST', closes: true },
  {
    name: 'END_STREAM, close_notify',
    endStream: true,
    after: (stream) => stream.connection.end(),
    end: 'FIN',
    closes: true,
  },
  {
    name: 'END_STREAM, FIN',
    endStream: true,
    after: (stream) => stream.connection.cut(),
    end: 'FIN',
    closes: true,
  },
];

const LANES = 8;
const LARGEST = 600_000;
const bytes = randomBytes(LARGEST);

/** A waypoint that ends the exchanges of its clients in every way. */
interface RandomEndings {
  /** Runs one exchange of a random size and pace; asserts every byte and the end. Returns the name of the end. */
  exchange(client: Pod): Promise<string>;
  close(): void;
}

/** Serves {@link RandomEndings} on a pod that takes HBONE itself. */
export async function serveRandomEndings(pod: Pod, identity: PeerIdentity): Promise<RandomEndings> {
  const plans = new Map<string, { way: Way; size: number }>();
  const waypoint = await serveRudeWaypoint(pod, {
    identity,
    onStream: (stream) => void answer(stream, plans),
  });
  return {
    async exchange(client) {
      const plan = { way: pick(ways), size: randomSize() };
      await exchange(client, pod, plan, plans);
      return plan.way.name;
    },
    close: () => waypoint.close(),
  };
}

/** Runs random exchanges through a waypoint that ends streams in every way; asserts every byte and every end. */
export async function runRandomEndings(count: number): Promise<Map<string, number>> {
  const mesh = await startTestMesh({ nodes: 2 });
  const done = new Map<string, number>();
  try {
    const { pod, workload } = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
    const waypoint = await serveRandomEndings(pod, mesh.authority.issue(workload));
    mesh.own(waypoint);
    let left = count;
    const lane = async (client: Pod): Promise<void> => {
      while (left-- > 0) {
        const way = await waypoint.exchange(client);
        done.set(way, (done.get(way) ?? 0) + 1);
      }
    };
    const clients = await Promise.all(Array.from({ length: LANES }, () => mesh.pod()));
    await Promise.all(clients.map((one) => lane(one.pod)));
    return done;
  } finally {
    await mesh[Symbol.asyncDispose]();
  }
}

let named = 0;

async function exchange(
  client: Pod,
  waypoint: Pod,
  plan: { way: Way; size: number },
  plans: Map<string, { way: Way; size: number }>,
): Promise<void> {
  named += 1;
  const name = `${named}`.padStart(8, '0');
  plans.set(name, plan);
  const socket = await connect(client, waypoint.addresses.v4, 8080);
  socket.write(name);
  // A reset makes Node.js discard data that it has read but not delivered, and so does a write that fails with a reset.
  if (plan.way.end === 'FIN' && plan.way.closes === undefined && Math.random() < 0.3)
    socket.write(bytes.subarray(0, randomSize()));
  if (Math.random() < 0.5) socket.end();
  const seen = await read(socket, plan.way.end === 'FIN' ? pick(['fast', 'late', 'slow']) : 'fast');
  socket.destroy();
  const what = `${plan.way.name} after ${plan.size} bytes`;
  const end = plan.way.name === 'RST_STREAM 10' && plan.size === 0 ? 'RST' : plan.way.end;
  assert.deepEqual([seen.length, seen.end], [plan.size, end], what);
  assert.ok(seen.bytes.equals(bytes.subarray(0, plan.size)), what);
}

async function answer(stream: FrameStream, plans: Map<string, { way: Way; size: number }>): Promise<void> {
  stream.respond();
  await stream.until(() => stream.received.length >= 8, 20_000).catch(() => undefined);
  const name = stream.received.subarray(0, 8).toString();
  const plan = plans.get(name);
  if (plan === undefined) return;
  plans.delete(name);
  await stream.send(bytes.subarray(0, plan.size), plan.way.endStream);
  plan.way.after(stream);
}

interface Seen {
  readonly bytes: Buffer;
  readonly length: number;
  readonly end: 'FIN' | 'RST' | 'open';
}

function read(socket: Socket, pace: 'fast' | 'late' | 'slow'): Promise<Seen> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    const finish = (end: Seen['end']) => (): void => {
      clearTimeout(limit);
      const all = Buffer.concat(chunks);
      resolve({ bytes: all, length: all.length, end });
    };
    const limit = setTimeout(finish('open'), 30_000);
    socket.once('end', finish('FIN'));
    socket.once('error', finish('RST'));
    const begin = (): void => {
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (pace !== 'slow') return;
        socket.pause();
        setTimeout(() => socket.resume(), Math.random() * 3);
      });
    };
    if (pace === 'fast') begin();
    else setTimeout(begin, Math.random() * 30);
  });
}

function pick<Item>(items: readonly Item[]): Item {
  return items[Math.floor(Math.random() * items.length)] as Item;
}

/** Returns a random size; each order of magnitude is equally likely. */
function randomSize(): number {
  return Math.random() < 0.05 ? 0 : Math.floor(LARGEST ** Math.random());
}
