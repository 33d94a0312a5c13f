import {
  destroyTcpSockets,
  listTcpSockets,
  type NetworkNamespace,
  type TcpSockets,
  tcpState,
} from '@kmesh/linux';
import { addressText } from '../events/kernel-event.ts';

/** A connection that a pod accepted on the kernel path. */
interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** Ports of the proxy, which judges its own connections (bpf/packet.h). */
const TUNNEL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/** A connection of the kernel path that is now denied, from one listing of the pod's sockets. */
interface DeniedConnection {
  readonly cookie: number;
  readonly record: Uint8Array;
}

/**
 * Resets the live kernel-path connections that a pod accepted and that `isAllowed` now denies; returns their number.
 * Their packets are dropped already: this ends idle ones. A connection whose other end is in the pod as well belongs to
 * the proxy, which judges it itself. The kernel lists sockets one by one while connections come and go, so one end may
 * be listed without the other: only a socket that two listings show without its peer is reset.
 *
 * @param onDenied called with the socket cookie of each before it is reset
 * @throws KMESH_SOCKET_LIST_FAILED, KMESH_SOCKET_DESTROY_FAILED
 */
export async function closeDenied(
  namespace: NetworkNamespace,
  isAllowed: (connection: AcceptedConnection) => boolean,
  onDenied: (socketCookie: number) => void,
): Promise<number> {
  const first = await listDenied(namespace, isAllowed);
  if (first.length === 0) return 0;
  const alone = new Set(first.map(({ cookie }) => cookie));
  const denied = (await listDenied(namespace, isAllowed)).filter(({ cookie }) => alone.has(cookie));
  for (const { cookie } of denied) onDenied(cookie);
  await destroyTcpSockets(
    namespace,
    denied.map(({ record }) => record),
  );
  return denied.length;
}

async function listDenied(
  namespace: NetworkNamespace,
  isAllowed: (connection: AcceptedConnection) => boolean,
): Promise<DeniedConnection[]> {
  const sockets = await listTcpSockets(namespace);
  const listening = new Set<number>();
  const connected: (AcceptedConnection & DeniedConnection)[] = [];
  while (sockets.next()) {
    if (sockets.state === tcpState.listening) listening.add(sockets.localPort);
    else connected.push({ ...endsOf(sockets), cookie: sockets.cookie, record: sockets.record });
  }
  const ends = new Set(
    connected.map((one) => endsText(one.localIp, one.localPort, one.remoteIp, one.remotePort)),
  );
  return connected.filter(
    (one) =>
      listening.has(one.localPort) &&
      !TUNNEL_PORTS.has(one.localPort) &&
      !ends.has(endsText(one.remoteIp, one.remotePort, one.localIp, one.localPort)) &&
      !isAllowed(one),
  );
}

function endsOf(sockets: TcpSockets): AcceptedConnection {
  return {
    localIp: addressText(sockets.localAddress),
    localPort: sockets.localPort,
    remoteIp: addressText(sockets.remoteAddress),
    remotePort: sockets.remotePort,
  };
}

function endsText(localIp: string, localPort: number, remoteIp: string, remotePort: number): string {
  return `${localIp} ${localPort} ${remoteIp} ${remotePort}`;
}
