import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError } from '@kmesh/api';
import { parseEndpoint } from '../network/addresses.ts';
import { labProgram } from '../network/commands.ts';
import { LineConversation } from './lines.ts';

export interface DialOptions {
  /** `1.2.3.4:80` or `[fd00::1]:80`; several are dialled in turn. */
  readonly to: string | readonly string[];
  /** Total number; 1 by default, 0 to run until stopped. */
  readonly connections?: number;
  /** Number of concurrent connections; 1 by default. */
  readonly concurrency?: number;
  /** The server's protocol; `banner` by default. */
  readonly mode?: 'banner' | 'http' | 'halfclose';
  /** HTTP requests on each connection, one after the other; 1 by default. */
  readonly requests?: number;
  readonly host?: string;
  readonly path?: string;
  /** Milliseconds for one answer; 5,000 by default. */
  readonly timeoutMs?: number;
  /** Bytes to send in mode `halfclose`; 11 by default. */
  readonly bytes?: number;
  /** Dials IPv4 addresses on IPv6 sockets (`::ffff:1.2.3.4`). */
  readonly mapped?: boolean;
  /** Packets carry IP options without a meaning, or an IPv6 destination options header. */
  readonly extraHeaders?: boolean;
  /** `SO_MARK` that the application sets itself. */
  readonly mark?: number;
  /** Addresses to dial from, at most one of each family; the kernel's choice by default. */
  readonly sources?: readonly string[];
}

export interface DialFailure {
  readonly step: 'connect' | 'write' | 'read';
  /** Symbolic errno, `TIMEOUT`, or the fault in the answer. */
  readonly reason: string;
  readonly target: string;
  readonly count: number;
}

export interface DialReport {
  readonly connections: number;
  readonly failed: number;
  /** Connections whose `getpeername` did not show the dialled address. */
  readonly wrongPeer: number;
  /** The address that the last of those showed. */
  readonly wrongPeerSeen?: string;
  readonly elapsedNs: number;
  /** From `connect` to the whole answer, of each request. */
  readonly latencyNs?: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  };
  /** Answers by endpoint name. */
  readonly byEndpoint: Readonly<Record<string, number>>;
  /** Answers by endpoint and by the epoch in which `connect` was called. */
  readonly byEpoch: readonly { readonly epoch: number; readonly endpoint: string; readonly count: number }[];
  readonly failures: readonly DialFailure[];
}

/** Running clients. */
export interface Dialing {
  /** Resolves when they have ended. */
  readonly report: Promise<DialReport>;
  /**
   * Connections that begin after this resolves are counted under `epoch`; those that began before the call, under the
   * previous one. This separates the effects of a change from connections in progress.
   */
  epoch(epoch: number): Promise<void>;
  /** Resolves when `connections` connections that began after this call have ended, served or not. */
  turns(connections: number): Promise<void>;
  /** Starts no more connections and waits for the running ones. */
  stop(): Promise<DialReport>;
}

/** Starts the `dial` program on a host. The report rejects with KMESH_LAB_PROGRAM_ENDED when the program breaks. */
export function startDialing(
  host: { spawn(command: string, parameters: readonly string[]): ChildProcess },
  options: DialOptions,
): Dialing {
  const child = host.spawn(labProgram('dial'), programArguments(options));
  const { promise: report, resolve, reject } = Promise.withResolvers<DialReport>();
  report.catch(() => undefined);
  const conversation = new LineConversation(child, 'the lab client', (answer) => resolve(readReport(answer)));
  conversation.hold();
  child.once('close', (code, signal) => {
    reject(
      new KmeshError('KMESH_LAB_PROGRAM_ENDED', `The lab client ended early (${signal ?? `code ${code}`}).`),
    );
  });
  return {
    report,
    epoch: async (epoch) => {
      await conversation.ask(`epoch ${epoch}`);
    },
    turns: async (connections) => {
      const count = async () => (await conversation.ask('count')) as { begun: number; ended: number };
      const wanted = (await count()).begun + connections;
      while ((await count()).ended < wanted) await delay(5);
    },
    stop: async () => {
      await conversation.ask('stop');
      return await report;
    },
  };
}

function programArguments(options: DialOptions): string[] {
  const result: string[] = [];
  const add = (flag: string, value: string | number | undefined) => {
    if (value !== undefined) result.push(flag, String(value));
  };
  add('--connections', options.connections);
  add('--concurrency', options.concurrency);
  add('--mode', options.mode);
  add('--requests', options.requests);
  add('--host', options.host);
  add('--path', options.path);
  add('--timeout-ms', options.timeoutMs);
  add('--bytes', options.bytes);
  add('--mark', options.mark);
  for (const ip of options.sources ?? []) add('--source', ip);
  if (options.mapped === true) result.push('--mapped');
  if (options.extraHeaders === true) result.push('--extra-headers');
  for (const text of typeof options.to === 'string' ? [options.to] : options.to) {
    const { ip, port } = parseEndpoint(text);
    result.push(ip, String(port));
  }
  return result;
}

type RawReport = Omit<DialReport, 'byEndpoint' | 'byEpoch'> & {
  readonly answers: readonly (readonly [number, string, number])[];
};

function readReport(answer: unknown): DialReport {
  const { answers, ...rest } = answer as RawReport;
  const byEndpoint: Record<string, number> = {};
  for (const [, endpoint, count] of answers) byEndpoint[endpoint] = (byEndpoint[endpoint] ?? 0) + count;
  const byEpoch = answers.map(([epoch, endpoint, count]) => ({ epoch, endpoint, count }));
  return { ...rest, byEndpoint, byEpoch };
}
