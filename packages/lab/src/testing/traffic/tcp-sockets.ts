import { readdirSync, readlinkSync } from 'node:fs';
import { eventually } from '@kmesh/api/testing';
import { listTcpSockets, openNetworkNamespace, tcpState } from '@kmesh/linux';
import type { Host } from '../../pods/host.ts';

/** A TCP socket as the kernel lists it. */
interface ListedSocket {
  /** One of `tcpState`. */
  readonly state: number;
  readonly localPort: number;
  readonly remotePort: number;
  readonly bytesAcknowledged: number;
  readonly bytesReceived: number;
  readonly receiveQueue: number;
  readonly mark: number;
}

/** Lists the TCP sockets in a host's namespace; with `pid` only those of that process. */
export async function tcpSocketsOf(host: Host, pid?: number): Promise<ListedSocket[]> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const sockets = await listTcpSockets(namespace);
  const own = pid === undefined ? undefined : socketInodes(pid);
  const found: ListedSocket[] = [];
  while (sockets.next()) {
    if (own?.has(sockets.inode) === false) continue;
    const { state, localPort, remotePort, bytesAcknowledged, bytesReceived, receiveQueue, mark } = sockets;
    found.push({ state, localPort, remotePort, bytesAcknowledged, bytesReceived, receiveQueue, mark });
  }
  return found;
}

/** Waits until this many connections to a port of a host have carried bytes in both directions. */
export async function untilCarrying(host: Host, port: number, connections: number): Promise<void> {
  await eventually(`${connections} connections to port ${port} carry bytes`, async () => {
    const carrying = (await tcpSocketsOf(host)).filter(
      (socket) =>
        socket.localPort === port &&
        socket.state === tcpState.established &&
        socket.bytesReceived > 0 &&
        socket.bytesAcknowledged > 0,
    );
    return carrying.length >= connections;
  });
}

/** Waits until a number of bytes is acknowledged on every connection to or from a port, on all of these hosts. */
export async function untilAcknowledged(hosts: readonly Host[], port: number, bytes: number): Promise<void> {
  for (const host of hosts) {
    await eventually(`${bytes} bytes are acknowledged on ${host.name}`, async () => {
      const connections = (await tcpSocketsOf(host)).filter(
        ({ state, localPort, remotePort }) =>
          state === tcpState.established && (localPort === port || remotePort === port),
      );
      return (
        connections.length > 0 && connections.every(({ bytesAcknowledged }) => bytesAcknowledged >= bytes)
      );
    });
  }
}

function socketInodes(pid: number): ReadonlySet<number> {
  const inodes = new Set<number>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(Number(inode));
    } catch {
      // Closed meanwhile.
    }
  }
  return inodes;
}
