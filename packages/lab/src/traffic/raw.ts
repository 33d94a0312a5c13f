import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { KmeshError } from '@kmesh/api';
import { labProgram } from '../network/commands.ts';

interface RawPacket {
  readonly from: string;
  /** What follows the IP header. */
  readonly payload: Buffer;
}

interface Spawner {
  readonly name: string;
  spawn(command: string, parameters: readonly string[]): ChildProcess;
}

/** Receives packets of one IP protocol (1 ICMP, 58 ICMPv6, 132 SCTP) on a host. */
export class RawListener implements Disposable {
  readonly packets: RawPacket[] = [];
  readonly #child: ChildProcess;
  readonly #waiters = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(host: Spawner, family: 4 | 6, protocol: number): Promise<RawListener> {
    const child = host.spawn(labProgram('raw'), ['listen', `${family}`, `${protocol}`]);
    const listener = new RawListener(child);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once('close', () =>
      reject(new KmeshError('KMESH_LAB_PROGRAM_ENDED', `No raw socket on ${host.name}.`)),
    );
    if (child.stdout === null) throw new TypeError('raw needs a pipe');
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'listening') {
        resolve();
        return;
      }
      const [from = '', hex = ''] = line.split(' ');
      listener.packets.push({ from, payload: Buffer.from(hex, 'hex') });
      for (const wake of listener.#waiters) wake();
    });
    await promise;
    return listener;
  }

  /** Waits for the first packet, already received or not, that `matches` accepts. @throws KMESH_LAB_TIMEOUT */
  async packet(matches: (packet: RawPacket) => boolean, timeoutMs = 2000): Promise<RawPacket> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = this.packets.find(matches);
      if (found !== undefined) return found;
      const left = deadline - Date.now();
      if (left <= 0) throw new KmeshError('KMESH_LAB_TIMEOUT', `No such packet came within ${timeoutMs} ms.`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiters.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, left);
        this.#waiters.add(wake);
      });
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
