import type { NetworkNamespace } from '@kmesh/runtime';
import { runInNamespace } from './run-in-namespace.ts';

/** A connection that a pod accepted on the kernel path. */
export interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** The filter of one command may not grow without bounds. */
const SOCKETS_PER_COMMAND = 64;

/**
 * Resets the live kernel-path connections that a pod accepted and that `isAllowed` refuses now; how many there were. The
 * kernel path's own mark tells them from all others.
 *
 * @throws KMESH_POD_COMMAND_FAILED
 */
export async function closeDenied(
  namespace: NetworkNamespace,
  isAllowed: (connection: AcceptedConnection) => boolean,
): Promise<number> {
  const sockets = (await runInNamespace(namespace, ['ss', '-tanHe'])).split('\n').map((line) => {
    const [state = '', , , local = '', remote = ''] = line.trim().split(/\s+/);
    return { state, local, remote, marked: /fwmark:0x[0-9a-f]*4b4d\b/.test(line) };
  });
  const listening = sockets.filter(({ state }) => state === 'LISTEN');
  const ports = new Set(listening.map(({ local }) => parseEndpoint(local)?.port));
  const denied: string[] = [];
  for (const { state, local: localText, remote: remoteText, marked } of sockets) {
    const local = parseEndpoint(localText);
    const remote = parseEndpoint(remoteText);
    if (
      !marked ||
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
    };
    if (!isAllowed(connection)) denied.push(`( src ${localText} and dst ${remoteText} )`);
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
