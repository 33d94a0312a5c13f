import type { NetworkNamespace } from '@kmesh/runtime';
import { runInNamespace } from './run-in-namespace.ts';

/** A connection that a pod accepted on the kernel path. */
export interface AcceptedConnection {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

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
  const listening = await runInNamespace(namespace, ['ss', '-tlnH']);
  const ports = new Set(
    listening.split('\n').map((line) => parseEndpoint(line.trim().split(/\s+/)[3])?.port),
  );
  const marked = await runInNamespace(namespace, [
    'ss',
    '-tnH',
    'state',
    'connected',
    'fwmark = 0x4b4d/0xffff',
  ]);
  let closed = 0;
  for (const line of marked.split('\n')) {
    const words = line.trim().split(/\s+/);
    const local = parseEndpoint(words[3]);
    const remote = parseEndpoint(words[4]);
    if (local === undefined || remote === undefined || !ports.has(local.port)) continue;
    const connection = {
      localIp: local.ip,
      localPort: local.port,
      remoteIp: remote.ip,
      remotePort: remote.port,
    };
    if (isAllowed(connection)) continue;
    const ends = ['src', words[3] ?? '', 'dst', words[4] ?? ''];
    await runInNamespace(namespace, ['ss', '-K', '-tnH', 'state', 'connected', ...ends]);
    closed++;
  }
  return closed;
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
