import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { isIPv6, type Socket } from 'node:net';
import { KmeshError } from '@kmesh/api';

/** Header that a page must send with a request that changes something; only the admin page itself can. */
const pageRequestHeader = 'x-kmesh-page';

/**
 * Returns why a request to the admin port is refused, as one sentence, or `undefined` to allow it. A web page open in a
 * browser on this machine must neither read nor change anything through the port:
 *
 * - A foreign name in `Host` is a site whose name now resolves to loopback (DNS rebinding).
 * - `Origin`, `Referer` and `Sec-Fetch-Site` name the site a request comes from; browsers add them by themselves.
 */
export function refuseForeign(headers: IncomingHttpHeaders): string | undefined {
  const { host = '', origin, referer } = headers;
  if (!isLoopback(host)) return 'the Host of a request to this port must be localhost or a loopback address';
  const site = headers['sec-fetch-site'] ?? 'none';
  const own =
    (origin === undefined || hostOf(origin) === host) &&
    (referer === undefined || hostOf(referer) === host) &&
    (site === 'none' || site === 'same-origin');
  return own ? undefined : 'pages of other sites may not use this port';
}

/**
 * As {@link refuseForeign}, for a request that changes something. A browser's request must carry
 * {@link pageRequestHeader}, which a page of another site can only send after a CORS preflight, which fails here.
 */
export function refuseChange(headers: IncomingHttpHeaders): string | undefined {
  const browser =
    /^Mozilla\//i.test(headers['user-agent'] ?? '') ||
    ['origin', 'referer', 'cookie', 'sec-fetch-mode', 'sec-fetch-site'].some(
      (name) => headers[name] !== undefined,
    );
  if (!browser || headers[pageRequestHeader] !== undefined) return undefined;
  return `a browser must send ${pageRequestHeader} with requests that change something; other clients need no header`;
}

/** As {@link refuseForeign}, for requests that only root may send; refuses them if the socket's owner cannot be read. */
export function refuseOthers(request: IncomingMessage): string | undefined {
  const uid = uidOfPeer(request.socket);
  if (uid === 0 || uid === process.getuid?.()) return undefined;
  if (uid === undefined) return 'only root may shut the proxy down, and the list of sockets cannot be read';
  return uid === 'unknown'
    ? 'only root may shut the proxy down, and the connection must stay open until it is answered'
    : `only root may shut the proxy down, not user ${uid}`;
}

function isLoopback(host: string): boolean {
  const name = /^(\[[0-9a-f:]+\]|[^:]*)(?::\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name ?? '');
}

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

const established = '01';
/** FIN_WAIT1, FIN_WAIT2: a client that has sent everything and waits for the answer. */
const halfClosed: ReadonlySet<string> = new Set(['04', '05']);

/**
 * Returns the user that holds the other end of a loopback connection; `unknown` when no process holds it any more,
 * `undefined` when the kernel's list of sockets cannot be read.
 */
function uidOfPeer(socket: Socket): number | 'unknown' | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined || localAddress === undefined) return 'unknown';
  const peer = socketText(remoteAddress, remotePort ?? 0);
  const own = socketText(localAddress, localPort ?? 0);
  let table: string;
  try {
    table = readFileSync(`/proc/self/net/${isIPv6(remoteAddress) ? 'tcp6' : 'tcp'}`, 'latin1');
  } catch {
    return undefined;
  }
  for (const line of table.split('\n')) {
    const [, local, remote, state, , , , uid, , inode] = line.trim().split(/\s+/);
    if (local !== peer || remote !== own) continue;
    // A socket that no process holds is listed as root's.
    return inode === '0' || (state !== established && !halfClosed.has(state ?? '')) ? 'unknown' : Number(uid);
  }
  return 'unknown';
}

/** Returns `address:port` as `/proc/net/tcp` writes it: words in host byte order, as hexadecimal. */
function socketText(ip: string, port: number): string {
  const bytes = isIPv6(ip) ? loopback6 : ip.split('.').map(Number);
  const words: string[] = [];
  for (let at = 0; at < bytes.length; at += 4) {
    words.push(
      Buffer.from(bytes.slice(at, at + 4))
        .reverse()
        .toString('hex'),
    );
  }
  return `${words.join('')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

/** `::1`: no other IPv6 address is loopback. */
const loopback6: readonly number[] = [...Array.from({ length: 15 }, () => 0), 1];

/** Returns the error for an invalid request to the admin API; it becomes status 400 with this text. */
export function badQuery(message: string): KmeshError {
  return new KmeshError('KMESH_QUESTION', message);
}
