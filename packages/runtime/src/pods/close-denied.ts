import {
  destroyTcpSockets,
  listTcpSockets,
  type NetworkNamespace,
  type TcpSockets,
  tcpState,
} from '@kmesh/linux';
import { addressText } from '../events/address-text.ts';

/** A connection that a pod accepted on the kernel path. */
interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** The proxy's own, which it judges itself (bpf/packet.h). */
const TUNNEL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/**
 * Resets the live kernel-path connections that a pod accepted and that `isAllowed` refuses now; returns how many there were.
 * No packet of them passes any more: this ends those that are idle. A connection whose other end is in the pod as well is
 * the proxy's, which judges it itself.
 *
 * @param onDenied called with the socket cookie of each before it is reset
 * @throws KMESH_SOCKET_LIST_FAILED, KMESH_SOCKET_DESTROY_FAILED
 */
export async function closeDenied(
  namespace: NetworkNamespace,
  isAllowed: (connection: AcceptedConnection) => boolean,
  onDenied: (socketCookie: number) => void,
): Promise<number> {
  const sockets = await listTcpSockets(namespace);
  const listening = new Set<number>();
  const connected: (AcceptedConnection & { readonly cookie: number; readonly record: Uint8Array })[] = [];
  while (sockets.next()) {
    if (sockets.state === tcpState.listening) listening.add(sockets.localPort);
    else connected.push({ ...endsOf(sockets), cookie: sockets.cookie, record: sockets.record });
  }
  const ends = new Set(
    connected.map((one) => endsText(one.localIp, one.localPort, one.remoteIp, one.remotePort)),
  );
  const denied = connected.filter(
    (one) =>
      listening.has(one.localPort) &&
      !TUNNEL_PORTS.has(one.localPort) &&
      !ends.has(endsText(one.remoteIp, one.remotePort, one.localIp, one.localPort)) &&
      !isAllowed(one),
  );
  for (const { cookie } of denied) onDenied(cookie);
  await destroyTcpSockets(
    namespace,
    denied.map(({ record }) => record),
  );
  return denied.length;
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
