import { createInterface } from 'node:readline';
import type { Host } from '@kmesh/lab';
import { buildNative } from '../kernel/dialer.ts';

/** What test/kernel/native/oracle.c counted on one side. */
export interface OracleCount {
  readonly connections: number;
  readonly bytes: number;
  /** Wrong, missing or surplus bytes, and reads that plain TCP would have answered otherwise. */
  readonly failures: number;
  /** Connections that ended early because the other side was killed. */
  readonly broken: number;
}

export interface OracleDial {
  readonly style: string;
  readonly connections: number;
  readonly rounds: number;
  readonly largest: number;
  readonly seed: number;
}

/** Starts the checking server on a host. */
export async function serveOracle(host: Host, port: number, tolerateBreaks = false): Promise<OracleServer> {
  const child = host.spawn(buildNative('oracle'), ['serve', `${port}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...(tolerateBreaks ? { ORACLE_TOLERATE_BREAKS: '1' } : {}) },
  });
  if (child.stdin === null || child.stdout === null) throw new Error('no pipes to the oracle');
  const { stdin } = child;
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  if ((await lines.next()).value !== 'ready') throw new Error('the oracle did not start');
  return {
    async finish() {
      stdin.end();
      return JSON.parse((await lines.next()).value ?? '') as OracleCount;
    },
  };
}

export interface OracleServer {
  /** Ends the server; what it counted. */
  finish(): Promise<OracleCount>;
}

/** Runs checking clients on a host to their end. */
export async function dialOracle(host: Host, to: Host, port: number, dial: OracleDial): Promise<OracleCount> {
  const { style, connections, rounds, largest, seed } = dial;
  const numbers = [connections, rounds, largest, seed].map(String);
  const ip = seed % 2 === 0 ? to.addresses.v4 : to.addresses.v6;
  const result = await host.run(buildNative('oracle'), ['dial', ip, `${port}`, style, ...numbers], {
    check: false,
  });
  if (result.stdout === '') throw new Error(`the oracle's client broke: ${result.stderr}`);
  if (result.stderr !== '') console.error(result.stderr);
  return JSON.parse(result.stdout) as OracleCount;
}
