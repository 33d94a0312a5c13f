import { createServer, type Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BpfObject,
  connectSocket,
  createNetworkNamespace,
  type NetworkNamespace,
  openListener,
  socketLocalAddress,
  spliceAway,
  tcpInfo,
  unreadBytes,
} from '@kmesh/linux';
import { kmeshSettingsLayout } from '../tables/gen/layouts.ts';
import { entryTableOf } from '../tables/kernel-maps.ts';
import { attachKernelObject, kernelPrograms, loadKernelObject } from '../tables/kernel-object.ts';
import { PodAddressTable } from '../tables/pod-address-table.ts';
import { PodTable } from '../tables/pod-table.ts';
import { readRedirectCounts, redirectAttachments } from '../tables/redirect-object.ts';
import { faultWithin } from './fault-within.ts';
import { NumberedStream } from './numbered-stream.ts';

/** Where {@link testRedirect} tries. */
interface RedirectTrial {
  /** kmesh.bpf.o. */
  readonly objectPath: string;
  /** A cgroup that this process is in or below: its sockets must reach the programs. */
  readonly cgroup: string;
  /** Whether redirected bytes must also be what `SIOCINQ` counts and `splice` reads, as TCP's are. */
  readonly asTcp: boolean;
}

const CLIENT = '127.75.77.1';
const SERVER = '127.75.77.2';
const LIMIT_MILLISECONDS = 1_000;
/** Sizes in turn: one byte, around a page, and below the size that goes by TCP. */
const SIZES = [1, 7, 512, 4_095, 4_096, 4_097, 12_000];
const ROUNDS = 56;
/** Redirected, and too large to be. */
const SMALL = 512;
const LARGE = 20_000;

/**
 * Moves numbered bytes between two sockets in a namespace of their own through the real programs: in turns, both ways at
 * once, and after a half-close; with `asTcp` it also looks how the kernel shows a redirected message that was not read. An
 * instance of the programs with tables of its own serves them, so nothing else notices.
 *
 * @returns what went wrong on this kernel, `undefined` when redirect moved every byte as it should
 * @throws KMESH_BPF_LOAD_FAILED, KMESH_BPF_ATTACH_FAILED, KMESH_SOCKET_FAILED when it could not be tried
 */
export async function testRedirect(trial: RedirectTrial): Promise<string | undefined> {
  using stack = new DisposableStack();
  const object = stack.adopt(await loadTrial(trial.objectPath), (loaded) => loaded.close());
  const namespace = stack.use(createNetworkNamespace());
  new PodTable(object.map('pods').mmap()).set(namespace.cookie, {
    ...{ workloadId: 1, identityId: 1, namespaceId: 1, captured: false },
  });
  new PodAddressTable(entryTableOf(object, 'pod_addresses')).set(namespace.cookie, [CLIENT, SERVER]);
  for (const [, attach] of redirectAttachments(object)) stack.adopt(attach(), (link) => link.close());
  new DataView(object.map('settings').mmap()).setUint32(kmeshSettingsLayout.redirect, 1, true);
  for (const link of attachKernelObject(object, trial.cgroup, ['kmesh_sockops']).values())
    stack.adopt(link, (open) => open.close());
  const redirected = (): number => readRedirectCounts(object).bytes;
  const fault = await faultWithin(
    LIMIT_MILLISECONDS,
    exchange(namespace, stack, trial.asTcp ? redirected : undefined),
  );
  if (fault !== undefined) return fault;
  const { joined, bytes } = readRedirectCounts(object);
  if (joined < 2) return 'the sockets of the trial did not reach the programs';
  return bytes > 0 ? undefined : 'no byte was redirected';
}

async function loadTrial(path: string): Promise<BpfObject> {
  const needed: readonly string[] = ['kmesh_sockops', 'kmesh_redirect', 'kmesh_received'];
  return loadKernelObject({
    path,
    capacities: { frontends: 1, cidr_frontends: 1, endpoints: 1, events: 4_096 },
    prepare: (object) => {
      for (const program of [...kernelPrograms, 'kmesh_ingress'])
        if (!needed.includes(program)) object.setAutoload(program, false);
      object.setConstant('kmesh_self_test', 1);
    },
  });
}

/** Both ends, and the client's descriptor; closed with the stack. */
async function openPair(
  namespace: NetworkNamespace,
  stack: DisposableStack,
): Promise<{ client: Socket; clientFd: number; server: Socket }> {
  const fd = openListener({ namespace, address: SERVER, port: 0 });
  const { port } = socketLocalAddress(fd);
  const server = stack.adopt<Server>(createServer({ allowHalfOpen: true, noDelay: true }), (open) => {
    open.close();
  });
  const accepted = new Promise<Socket>((resolve, reject) => {
    server.once('connection', resolve).once('error', reject);
  });
  server.listen({ fd });
  const clientFd = await connectSocket({
    ...{ namespace, address: SERVER, port, bindAddress: CLIENT, noDelay: true },
    timeout: LIMIT_MILLISECONDS,
  });
  const client = new Socket({ fd: clientFd, readable: true, writable: true, allowHalfOpen: true });
  stack.defer(() => client.destroy());
  const answering = await accepted;
  stack.defer(() => answering.destroy());
  return { client, clientFd, server: answering };
}

async function exchange(
  namespace: NetworkNamespace,
  stack: DisposableStack,
  redirected: (() => number) | undefined,
): Promise<string | undefined> {
  const { client, clientFd, server } = await openPair(namespace, stack);
  const up = new NumberedStream('from client to server', client, server);
  const down = new NumberedStream('from server to client', server, client);
  for (let round = 0; round < ROUNDS; round++) {
    const size = SIZES[round % SIZES.length] ?? 1;
    await up.send(size);
    await down.send(size);
  }
  const inTurns = SIZES.flatMap((size) => [up.send(size), down.send(size)]);
  await Promise.all(inTurns);
  const difference =
    redirected === undefined ? undefined : await unreadFault(client, clientFd, server, redirected);
  if (difference !== undefined) return difference;
  client.end();
  await up.ended;
  await down.send(512);
  server.end();
  await down.ended;
  return up.fault ?? down.fault;
}

/** How bytes that were not read are shown otherwise than without redirect: whether they were redirected or came by TCP. */
async function unreadFault(
  client: Socket,
  clientFd: number,
  server: Socket,
  redirected: () => number,
): Promise<string | undefined> {
  const before = redirected();
  client.pause();
  server.write(new Uint8Array(SMALL));
  while (redirected() < before + SMALL) await sleep(1);
  const counted = unreadBytes(clientFd);
  if (counted !== SMALL) return `SIOCINQ counts ${counted} of ${SMALL} redirected bytes`;
  const spliced = spliceAway(clientFd, SMALL);
  if (spliced !== SMALL) return `splice reads ${spliced} of ${SMALL} redirected bytes`;
  const { bytesReceived } = tcpInfo(clientFd);
  server.write(new Uint8Array(LARGE));
  while (tcpInfo(clientFd).bytesReceived < bytesReceived + BigInt(LARGE)) await sleep(1);
  const countedLarge = unreadBytes(clientFd);
  if (countedLarge !== LARGE) return `SIOCINQ counts ${countedLarge} of ${LARGE} bytes that came by TCP`;
  spliceAway(clientFd, LARGE);
  client.resume();
  return undefined;
}
