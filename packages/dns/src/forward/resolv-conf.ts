import { constants } from 'node:fs';
import { open, readdir, readlink, stat } from 'node:fs/promises';
import { isIP } from 'node:net';

/** The used part of a resolv.conf. */
export interface ResolvConf {
  /** Addresses of resolvers, at most {@link maximumServers}. */
  readonly servers: readonly string[];
  /** Lower case, without leading and trailing dots. */
  readonly search: readonly string[];
}

/** The limit of the C library's resolver. */
const maximumServers = 3;
const maximumSearchDomains = 32;
const maximumBytes = 65_536;

/** Parses the text of a resolv.conf; unknown lines are skipped, as in every resolver. */
function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    const [first] = words;
    if (keyword === 'nameserver' && first !== undefined && isIP(first) !== 0 && !servers.includes(first)) {
      servers.push(first);
    } else if (keyword === 'search' || keyword === 'domain') {
      search = words
        .map((word) => word.toLowerCase().replace(/^\.+|\.+$/g, ''))
        .filter((word) => word !== '');
    }
  }
  return { servers: servers.slice(0, maximumServers), search: search.slice(0, maximumSearchDomains) };
}

/**
 * Reads a resolv.conf, at most 64 KiB, and only from a regular file. With `foreign`, does not follow a symbolic link in
 * the last path component: a pod controls its own file system. Returns `undefined` if there is none.
 */
export async function readResolvConf(
  path: string,
  { foreign = false }: { readonly foreign?: boolean } = {},
): Promise<ResolvConf | undefined> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (foreign ? constants.O_NOFOLLOW : 0);
  const file = await open(path, flags).catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const status = await file.stat();
    if (!status.isFile()) return undefined;
    const bytes = Buffer.alloc(Math.min(maximumBytes, Math.max(4_096, status.size)));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return parseResolvConf(bytes.toString('latin1', 0, bytesRead));
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

/**
 * Finds the resolv.conf of a pod through a process in its network namespace with its own mount namespace. Returns
 * `undefined` if the daemon cannot see the node's processes, or the pod has none yet.
 *
 * @param inode inode of the pod's network namespace
 */
export async function resolvConfOfPod(inode: bigint): Promise<ResolvConf | undefined> {
  const ours = await readlink('/proc/self/ns/mnt').catch(() => '');
  for (const entry of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(entry)) continue;
    const namespace = await stat(`/proc/${entry}/ns/net`, { bigint: true }).catch(() => undefined);
    if (namespace?.ino !== inode) continue;
    const mounts = await readlink(`/proc/${entry}/ns/mnt`).catch(() => ours);
    if (mounts === ours) continue;
    const found = await readResolvConf(`/proc/${entry}/root/etc/resolv.conf`, { foreign: true });
    if (found !== undefined && found.servers.length > 0) return found;
  }
  return undefined;
}
