import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';

/**
 * Whether a running helper program keeps this process alive. It does only while somebody waits for its answer: a test
 * that fails before it closes its lab must end, and the lab is then removed at exit.
 */
export function keepAlive(child: ChildProcess, wanted: boolean): void {
  const action = wanted ? 'ref' : 'unref';
  child[action]();
  for (const pipe of [child.stdin, child.stdout, child.stderr]) (pipe as Socket | null)?.[action]();
  child.channel?.[action]();
}
