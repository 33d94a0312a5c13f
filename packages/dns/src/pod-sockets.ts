import { isIP } from 'node:net';
import {
  closeDescriptor,
  duplicateDescriptor,
  type NetworkNamespace,
  openListener,
  openUdpSocket,
  SystemCallError,
} from '@kmesh/linux';
import type { PodSockets } from './server/protocol.ts';

/** Settings of the proxy's sockets in a pod. */
export interface PodSocketSettings {
  readonly ipv6: boolean;
  /** SO_MARK of every socket in a pod, which exempts it from capture. */
  readonly mark: number | undefined;
  readonly portReuse: boolean;
  /** `localhost` is 127.0.0.1 and, with IPv6, ::1. */
  readonly address: { readonly host: string; readonly port: number };
}

/** Room for a burst while the thread answers another pod; the kernel grants at most `net.core.rmem_max`. */
const receiveBufferBytes = 1_048_576;
const EAFNOSUPPORT = 97;
const EADDRNOTAVAIL = 99;

/**
 * Opens the proxy's sockets in a pod. @throws SystemCallError `KMESH_SOCKET_FAILED` naming the port, with no socket
 * left open
 */
export function openPodSockets(
  settings: PodSocketSettings,
  namespace: NetworkNamespace | undefined,
): PodSockets {
  const { host, port } = settings.address;
  const isLocalhost = host === 'localhost';
  const loopbacks = ['127.0.0.1', ...(settings.ipv6 ? ['::1'] : [])];
  const addresses = isLocalhost ? loopbacks : [host];
  const opened: { udp: number[]; tcp: number[]; namespace: number | undefined } = {
    udp: [],
    tcp: [],
    namespace: undefined,
  };
  try {
    const optionsOf = (address: string) => ({
      ...{ address, port, reuseAddress: true, reusePort: settings.portReuse },
      ipv6Only: isLocalhost,
      ...(namespace === undefined ? {} : { namespace }),
      ...(settings.mark === undefined ? {} : { mark: settings.mark }),
    });
    const receiveBuffer = receiveBufferBytes;
    for (const address of addresses) {
      try {
        opened.udp.push(openUdpSocket({ ...optionsOf(address), receiveBuffer }));
        opened.tcp.push(openListener(optionsOf(address)));
      } catch (error) {
        // The pod has no IPv6 on its loopback.
        if (address === '::1' && isLocalhost && isMissing(error)) continue;
        throw error;
      }
    }
    // Capture redirects queries to loopback, and only a socket bound to it answers from that address.
    for (const address of isWildcard(host) ? loopbacks.filter((one) => isIP(one) <= isIP(host)) : []) {
      try {
        opened.udp.push(openUdpSocket({ ...optionsOf(address), receiveBuffer, ipv6Only: true }));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    if (namespace !== undefined) opened.namespace = duplicateDescriptor(namespace.fd);
    return opened;
  } catch (error) {
    for (const fd of [...opened.udp, ...opened.tcp]) closeDescriptor(fd);
    throw error;
  }
}

/** Returns whether an address is `0.0.0.0`, or `::` in any spelling. */
function isWildcard(host: string): boolean {
  return isIP(host) !== 0 && /^[0:.]+$/.test(host);
}

function isMissing(error: unknown): boolean {
  return error instanceof SystemCallError && (error.errno === EAFNOSUPPORT || error.errno === EADDRNOTAVAIL);
}
