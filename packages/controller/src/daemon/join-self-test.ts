import { createServer, type Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connectSocket,
  createNetworkNamespace,
  type NetworkNamespace,
  openListener,
  socketLocalAddress,
} from '@kmesh/linux';
import { faultWithin, NumberedStream } from '@kmesh/runtime';
import { Engine, loadJoinPrograms } from '@kmesh/tunnel';

const ADDRESS = '127.75.78.1';
const LIMIT_MILLISECONDS = 2_000;
/** Sizes in turn: one byte, both sides of the largest segment that is redirected, and a large one. */
const SIZES = [1, 7, 512, 2_048, 2_049, 16_384, 40_000];
const ROUNDS = 70;
const BULK_BYTES = 1 << 18;
/** Pauses of a millisecond, at most. A data thread that finds bytes under way tries again 20 ms later, or 40. */
const PAUSES = 500;

/**
 * Moves numbered bytes through a data thread of its own that joins the two sockets, in a namespace of its own: in turns,
 * both ways at once, as bulk that wakes the thread, in turns again, and after a half-close.
 *
 * @param milliseconds - how long it may take
 * @returns what went wrong on this kernel, `undefined` when every byte arrived as it should and the kernel moved some
 * @throws KMESH_JOIN_UNAVAILABLE, KMESH_BPF_LOAD_FAILED, KMESH_SOCKET_FAILED when it could not be tried
 */
export async function testJoin(milliseconds = LIMIT_MILLISECONDS): Promise<string | undefined> {
  using stack = new DisposableStack();
  const [maps] = stack.use(await loadJoinPrograms(1)).maps;
  const namespace = stack.use(createNetworkNamespace());
  const engine = new Engine(
    {
      joinPeers: maps?.peers ?? -1,
      joinPlaces: maps?.places ?? -1,
      joins: maps?.joins ?? -1,
      joinWakes: maps?.wakes ?? -1,
      joinTurns: 16,
    },
    () => undefined,
  );
  stack.defer(() => engine.close());
  const fault = await faultWithin(milliseconds, exchange(engine, namespace, stack));
  if (fault !== undefined) return fault;
  const { joined, bytes } = engine.joinCounts;
  if (joined === 0) return 'the sockets of the trial were not joined';
  return bytes > 0 ? undefined : 'the kernel moved no byte';
}

async function exchange(
  engine: Engine,
  namespace: NetworkNamespace,
  stack: DisposableStack,
): Promise<string | undefined> {
  const [client, server, closed] = await openPair(engine, namespace, stack);
  const up = new NumberedStream('from client to server', client, server);
  const down = new NumberedStream('from server to client', server, client);
  await untilKernelMoves(engine, up, down);
  for (let round = 0; round < ROUNDS; round++) {
    const size = SIZES[round % SIZES.length] ?? 1;
    await up.send(round < ROUNDS / 2 ? Math.min(size, 2_048) : size);
    await down.send(512);
  }
  await Promise.all(SIZES.flatMap((size) => [up.send(size), down.send(size)]));
  await Promise.all([up.send(BULK_BYTES), down.send(BULK_BYTES)]);
  await untilKernelMoves(engine, up, down);
  for (let round = 0; round < ROUNDS; round++) {
    await up.send(300);
    await down.send(300);
  }
  // Its last bytes and its end together.
  const last = up.send(300);
  client.end();
  await Promise.all([last, up.ended]);
  await down.send(512);
  server.end();
  await down.ended;
  await closed;
  return up.fault ?? down.fault;
}

/** Exchanges single bytes until the data thread leaves the connection to the kernel; gives up silently. */
async function untilKernelMoves(engine: Engine, up: NumberedStream, down: NumberedStream): Promise<void> {
  const { slept, woken } = engine.joinCounts;
  if (slept > woken) return;
  for (let pause = 0; pause < PAUSES && engine.joinCounts.slept === slept; pause++) {
    await up.send(1);
    await down.send(1);
    await delay(1);
  }
}

/** A client and a server with the data thread between them; the promise resolves when it has closed the connection. */
async function openPair(
  engine: Engine,
  namespace: NetworkNamespace,
  stack: DisposableStack,
): Promise<[client: Socket, server: Socket, closed: Promise<void>]> {
  const fd = openListener({ namespace, address: ADDRESS, port: 0 });
  const target = socketLocalAddress(fd).port;
  const server = stack.adopt<Server>(createServer({ allowHalfOpen: true, noDelay: true }), (open) => {
    open.close();
  });
  const accepted = new Promise<Socket>((resolve, reject) => {
    server.once('connection', resolve).once('error', reject);
  });
  server.listen({ fd });
  const between = openListener({ namespace, address: ADDRESS, port: 0 });
  const { port } = socketLocalAddress(between);
  const id = engine.addNamespace(namespace);
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  engine.addListener(between, false, {
    accepted: ({ id: flow }) => {
      engine.handleFlow(flow, { closed: () => close() });
      engine.connectFlow(flow, { namespace: id, ip: ADDRESS, port: target, timeoutMilliseconds: 1_000 });
    },
    failed: () => undefined,
  });
  const client = new Socket({
    fd: await connectSocket({
      ...{ namespace, address: ADDRESS, port, noDelay: true },
      timeout: LIMIT_MILLISECONDS,
    }),
    ...{ readable: true, writable: true, allowHalfOpen: true },
  });
  stack.defer(() => client.destroy());
  const answering = await accepted;
  stack.defer(() => answering.destroy());
  return [client, answering, closed];
}
