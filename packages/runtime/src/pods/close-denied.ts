import type { NetworkNamespace } from '@kmesh/linux';
import { runInNamespace } from './run-in-namespace.ts';

/** A connection that a pod accepted on the kernel path. */
interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** The proxy's own, which it judges itself (bpf/packet.h). */
const TUNNEL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/** The filter of one command may not grow without bounds. */
const SOCKETS_PER_COMMAND = 64;

/**
 * Resets the live kernel-path connections that a pod accepted and that `isAllowed` refuses now; how many there were. No
 * packet of them passes any more: this ends those that are idle. A connection whose other end is in the pod as well is the
 * proxy's, which judges it itself.
 *
 * @param onDenied told the socket cookie of each before it is reset
 * @throws KMESH_POD_COMMAND_FAILED
 */
export async function closeDenied(
  namespace: NetworkNamespace,
  isAllowed: (connection: AcceptedConnection) => boolean,
  onDenied: (socketCookie: number) => void,
): Promise<number> {
  // Where many short connections are made, most of what there is waits for its time only.
  const sockets = (await runInNamespace(namespace, ['ss', '-tanHe', 'exclude', 'time-wait']))
    .split('\n')
    .map((line) => {
      const [state = '', , , local = '', remote = ''] = line.trim().split(/\s+/);
      const cookie = Number.parseInt(/ sk:([0-9a-f]+)/.exec(line)?.[1] ?? '', 16);
      return { state, local, remote, cookie };
    });
  const listening = sockets.filter(({ state }) => state === 'LISTEN');
  const ports = new Set(listening.map(({ local }) => parseEndpoint(local)?.port));
  const ends = new Set(sockets.map(({ local, remote }) => `${plain(local)} ${plain(remote)}`));
  const denied: string[] = [];
  for (const { state, local: localText, remote: remoteText, cookie } of sockets) {
    const local = parseEndpoint(localText);
    const remote = parseEndpoint(remoteText);
    if (
      state === 'LISTEN' ||
      local === undefined ||
      remote === undefined ||
      !ports.has(local.port) ||
      TUNNEL_PORTS.has(local.port) ||
      ends.has(`${plain(remoteText)} ${plain(localText)}`)
    )
      continue;
    const connection = {
      localIp: local.ip,
      localPort: local.port,
      remoteIp: remote.ip,
      remotePort: remote.port,
    };
    if (isAllowed(connection)) continue;
    onDenied(cookie);
    denied.push(`( src ${localText} and dst ${remoteText} )`);
  }
  for (let at = 0; at < denied.length; at += SOCKETS_PER_COMMAND) {
    const filter = denied.slice(at, at + SOCKETS_PER_COMMAND).join(' or ');
    await runInNamespace(namespace, ['ss', '-K', '-tnH', 'state', 'connected', filter]);
  }
  return denied.length;
}

/** One writing for an address, whichever family its socket has. */
function plain(text: string): string {
  return text.replace('[::ffff:', '').replace(/^([\d.]+)\]/, '$1');
}

/** `1.2.3.4:80`, `[fd00::1]:80`, `[::ffff:1.2.3.4]:80` and `*:80` as ss prints them. */
function parseEndpoint(text: string | undefined): { ip: string; port: number } | undefined {
  const colon = text?.lastIndexOf(':') ?? -1;
  if (text === undefined || colon < 0) return undefined;
  const ip = text
    .slice(0, colon)
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '');
  const port = Number(text.slice(colon + 1));
  return Number.isInteger(port) ? { ip, port } : undefined;
}
