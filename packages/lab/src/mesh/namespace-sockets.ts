import { createServer, type Server, Socket } from 'node:net';
import { connectSocket, openListener, openNetworkNamespace } from '@kmesh/linux';

/** Anything with a network namespace. */
interface Place {
  readonly namespacePath: string;
}

/**
 * A connection out of a host's namespace whose socket belongs to this process, so not to the host's cgroup: for the
 * proxy's own ports, and for peers. What the kernel path must see is made by `host.connect`.
 */
export async function connectFrom(
  host: Place,
  to: {
    readonly host: string;
    readonly port: number;
    readonly localAddress?: string;
    readonly timeoutMs?: number;
  },
): Promise<Socket> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = await connectSocket({
    namespace,
    address: to.host,
    port: to.port,
    timeout: to.timeoutMs ?? 5_000,
    ...(to.localAddress === undefined ? {} : { bindAddress: to.localAddress }),
  });
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}

/** A server in a host's namespace, in this process. */
export async function listenIn(
  host: Place,
  at: { readonly address: string; readonly port: number },
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = openListener({ namespace, address: at.address, port: at.port, reuseAddress: true });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
  return server.unref();
}
