import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A port of this machine that something listens on. */
interface TakenPort {
  readonly port: number;
  /** Such as `node (process 4711)`; undefined when it is in another process namespace. */
  readonly by: string | undefined;
}

const listening = '0A';

/** Those of `ports` that a TCP socket of this network namespace listens on, with the process that holds it. */
export function takenPorts(ports: readonly number[]): TakenPort[] {
  const inodes = new Map<number, string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(file, 'latin1').split('\n')) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      const port = Number.parseInt(local.split(':')[1] ?? '', 16);
      if (state === listening && ports.includes(port)) inodes.set(port, inode);
    }
  }
  if (inodes.size === 0) return [];
  const holders = holdersOf(new Set(inodes.values()));
  return [...inodes].map(([port, inode]) => ({ port, by: holders.get(inode) }));
}

/** Inode of a socket → the process that has it open. */
function holdersOf(wanted: ReadonlySet<string>): Map<string, string> {
  const holders = new Map<string, string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const fd of unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      // A busy process closes some while they are listed: each is on its own.
      const link = unlessGone(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
      const inode = /^socket:\[(\d+)\]$/.exec(link ?? '')?.[1];
      if (inode === undefined || !wanted.has(inode)) continue;
      const name = unlessGone(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim());
      if (name !== undefined) holders.set(inode, `${name} (process ${pid})`);
    }
  }
  return holders;
}

function unlessGone<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
