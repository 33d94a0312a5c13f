import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Host } from '../../pods/host.ts';
import { buildNative } from './dialer.ts';

/** Counts of one side of packages/lab/src/testing/kernel/native/oracle.c. */
interface OracleCount {
  readonly connections: number;
  readonly bytes: number;
  /** Wrong, missing or surplus bytes, and reads that plain TCP would have answered otherwise. */
  readonly failures: number;
  /** Connections that ended early because the other side was killed. */
  readonly broken: number;
  /** Most bytes that one connection took without a reader, in style `hold`. */
  readonly held: number;
}

export interface OracleDial {
  readonly style: string;
  readonly connections: number;
  readonly rounds: number;
  readonly largest: number;
  /** Even for IPv4, odd for IPv6. */
  readonly seed: number;
}

/** Every way to read and send; see packages/lab/src/testing/kernel/native/oracle.c. */
export const oracleStyles = [
  ...(['plain', 'poll', 'edge', 'vector', 'peek', 'all', 'lowat', 'splice', 'slow', 'sendfile'] as const),
  ...(['inq', 'duplex', 'mix', 'turns'] as const),
] as const;

/** The program does not count a killed peer as a failure. */
const tolerant = { ...process.env, ORACLE_TOLERATE_BREAKS: '1' };

/** Starts the checking server on a host. */
export async function serveOracle(host: Host, port: number, tolerateBreaks = false): Promise<OracleServer> {
  const child = host.spawn(buildNative('oracle'), ['serve', `${port}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: tolerateBreaks ? tolerant : process.env,
  });
  if (child.stdin === null || child.stdout === null) throw new Error('no pipes to the oracle');
  const { stdin, pid = 0 } = child;
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  if ((await lines.next()).value !== 'ready') throw new Error('the oracle did not start');
  return {
    pid,
    letRead: () => stdin.write('\n'),
    async finish() {
      stdin.end();
      return JSON.parse((await lines.next()).value ?? '') as OracleCount;
    },
  };
}

interface OracleServer {
  readonly pid: number;
  /** Lets the server read the data held back in style `hold`. */
  letRead(): void;
  /** Ends the server and returns its counts. */
  finish(): Promise<OracleCount>;
}

/** Runs checking clients on a host to their end. */
export async function dialOracle(host: Host, to: Host, port: number, dial: OracleDial): Promise<OracleCount> {
  const result = await host.run(buildNative('oracle'), dialArguments(to, port, dial), {
    check: false,
    timeoutMs: 300_000,
  });
  if (result.stdout === '') throw new Error(`the oracle's client broke: ${result.stderr}`);
  if (result.stderr !== '') console.error(result.stderr);
  return JSON.parse(result.stdout) as OracleCount;
}

/**
 * Runs checking clients that send `largest` bytes on each connection to a server which reads nothing before
 * `whileHeld` is over; that runs when none of the connections takes more.
 */
export async function dialHeld(
  host: Host,
  to: Host,
  port: number,
  dial: Pick<OracleDial, 'connections' | 'largest' | 'seed'>,
  server: OracleServer,
  whileHeld: () => void = () => {},
): Promise<OracleCount> {
  const args = dialArguments(to, port, { ...dial, style: 'hold', rounds: 1 });
  const child = host.spawn(buildNative('oracle'), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  if (child.stdout === null) throw new Error('no pipe to the oracle');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const first = (await lines.next()).value;
  if (first !== 'held') throw new Error(`the connections were not held back: ${first}`);
  whileHeld();
  server.letRead();
  return JSON.parse((await lines.next()).value ?? '') as OracleCount;
}

/** Starts checking clients that the test kills later; they do not count a killed peer as a failure either. */
export function startOracle(host: Host, to: Host, port: number, dial: OracleDial): ChildProcess {
  return host.spawn(buildNative('oracle'), dialArguments(to, port, dial), { env: tolerant });
}

function dialArguments(to: Host, port: number, dial: OracleDial): string[] {
  const { style, connections, rounds, largest, seed } = dial;
  const ip = seed % 2 === 0 ? to.addresses.v4 : to.addresses.v6;
  return ['dial', ip, `${port}`, style, ...[connections, rounds, largest, seed].map(String)];
}
