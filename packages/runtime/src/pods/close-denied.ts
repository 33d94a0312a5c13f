import type { NetworkNamespace } from '@kmesh/linux';
import { runInNamespace } from './run-in-namespace.ts';

/** A connection that a pod accepted on the kernel path. */
interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
  /** The peer came without an identity, whoever has its address. */
  readonly stranger: boolean;
}

/** `KMESH_MARK`, `KMESH_MARK_MASK` and `KMESH_MARK_STRANGER` of bpf/kmesh_config.h. */
const MARK = 0x4b4d;
const MARK_MASK = 0xffff;
const STRANGER_MARK = 0x14b4d;

/** The filter of one command may not grow without bounds. */
const SOCKETS_PER_COMMAND = 64;

/**
 * Resets the live kernel-path connections that a pod accepted and that `isAllowed` refuses now; how many there were. The
 * kernel path's own mark tells them from all others.
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
      const mark = Number(/fwmark:(0x[0-9a-f]+)/.exec(line)?.[1] ?? 0);
      const cookie = Number.parseInt(/ sk:([0-9a-f]+)/.exec(line)?.[1] ?? '', 16);
      return { state, local, remote, mark, cookie };
    });
  const listening = sockets.filter(({ state }) => state === 'LISTEN');
  const ports = new Set(listening.map(({ local }) => parseEndpoint(local)?.port));
  const denied: string[] = [];
  for (const { state, local: localText, remote: remoteText, mark, cookie } of sockets) {
    const local = parseEndpoint(localText);
    const remote = parseEndpoint(remoteText);
    if (
      (mark & MARK_MASK) !== MARK ||
      state === 'LISTEN' ||
      local === undefined ||
      remote === undefined ||
      !ports.has(local.port)
    )
      continue;
    const connection = {
      localIp: local.ip,
      localPort: local.port,
      remoteIp: remote.ip,
      remotePort: remote.port,
      stranger: mark === STRANGER_MARK,
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
