import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError, type Logger, zdsProto } from '@kmesh/api';
import { connectSeqpacket, type SeqpacketMessage, type SeqpacketSocket } from '@kmesh/runtime';
import type { Pods } from './pods.ts';
import { type SessionStep, ZdsSession } from './session.ts';

/** What the ZDS client needs. */
export interface ZdsClientOptions {
  /** Path of the CNI agent's socket, `INPOD_UDS`. */
  readonly path: string;
  readonly pods: Pods;
  readonly logger: Logger;
  /** The snapshot was applied, or (false) the connection is gone; for readiness. */
  readonly onReady: (ready: boolean) => void;
  /** For tests. */
  readonly firstWaitMilliseconds?: number;
}

/** A client of the CNI agent. */
export interface ZdsClient {
  /** Resolves after `close`; rejects with `KMESH_ZDS_PROTOCOL` when the agent broke the protocol. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

const longestWaitMilliseconds = 15_000;

/**
 * Connects to the CNI agent and stays connected: hello, snapshot, then changes, one answer per message and never
 * anything unasked (ambient contract 10.2, 10.3). Pods that are served stay so while the agent is away.
 */
export function connectZds(options: ZdsClientOptions): ZdsClient {
  const stopped = new AbortController();
  let socket: SeqpacketSocket | undefined;
  const ended = run(options, stopped.signal, (current) => {
    socket = current;
  });
  ended.catch(() => undefined);
  return {
    ended,
    close: async () => {
      stopped.abort();
      socket?.close();
      await ended.catch(() => undefined);
    },
  };
}

async function run(
  options: ZdsClientOptions,
  stopped: AbortSignal,
  current: (socket: SeqpacketSocket | undefined) => void,
): Promise<void> {
  const firstWait = options.firstWaitMilliseconds ?? 10;
  let wait = firstWait;
  while (!stopped.aborted) {
    const outcome = await attempt(options, current);
    current(undefined);
    if (stopped.aborted) return;
    options.onReady(false);
    if (outcome.greeted) wait = firstWait;
    // The first tries follow each other within milliseconds: one line says it for all of them.
    const level = wait === firstWait || wait >= 1_000 ? 'warn' : 'debug';
    options.logger[level]('not connected to the CNI agent', {
      setting: 'INPOD_UDS',
      path: options.path,
      cause: outcome.cause,
      next: `${wait}ms`,
    });
    await delay(wait, undefined, { signal: stopped }).catch(() => undefined);
    wait = Math.min(wait * 2, longestWaitMilliseconds);
  }
}

interface Outcome {
  readonly cause: string;
  /** At least one message was answered: the agent is alive, so the next try need not wait long. */
  readonly greeted: boolean;
}

async function attempt(
  options: ZdsClientOptions,
  current: (socket: SeqpacketSocket | undefined) => void,
): Promise<Outcome> {
  let socket: SeqpacketSocket;
  try {
    socket = connectSeqpacket(options.path, {
      maxPacketSize: zdsProto.maximumPacketBytes,
      maxDescriptors: 8,
    });
  } catch (error) {
    return { cause: error instanceof Error ? error.message : String(error), greeted: false };
  }
  current(socket);
  try {
    return await converse(socket, options);
  } finally {
    socket.close();
  }
}

async function converse(socket: SeqpacketSocket, options: ZdsClientOptions): Promise<Outcome> {
  const session = new ZdsSession(options.pods, () => options.onReady(true));
  const messages = packetsOf(socket);
  let greeted = false;
  try {
    await socket.send(zdsProto.ZdsHello.encode({ version: zdsProto.Version.V1 }));
    for (;;) {
      const message = await messages.next();
      if (message === undefined)
        return { cause: messages.failure() ?? 'the agent closed the connection', greeted };
      const step = await session.handle(message);
      await socket.send(zdsProto.WorkloadResponse.encode({ ack: { error: step.answer } }));
      greeted = true;
      logFailure(options.logger, step);
      if (step.next === 'reconnect') return { cause: step.answer, greeted };
      if (step.next === 'fatal') {
        throw new KmeshError('KMESH_ZDS_PROTOCOL', `the CNI agent broke the protocol: ${step.answer}`);
      }
    }
  } catch (error) {
    if (error instanceof KmeshError && error.code === 'KMESH_ZDS_PROTOCOL') throw error;
    return { cause: error instanceof Error ? error.message : String(error), greeted };
  }
}

function logFailure(logger: Logger, step: SessionStep): void {
  if (step.answer !== '')
    logger.error('a message of the CNI agent failed', { error: step.answer, action: step.next });
}

/** Packets of a socket one by one, `undefined` at its end; the socket pauses while one is worked off. */
function packetsOf(socket: SeqpacketSocket): {
  next(): Promise<SeqpacketMessage | undefined>;
  failure(): string | undefined;
} {
  const waiting: SeqpacketMessage[] = [];
  let wake: (() => void) | undefined;
  let closed = false;
  let failure: string | undefined;
  socket.on('error', (error) => {
    failure = error.message;
  });
  socket.on('close', () => {
    closed = true;
    wake?.();
  });
  socket.on('message', (message) => {
    waiting.push(message);
    socket.pause();
    wake?.();
  });
  return {
    failure: () => failure,
    next: async () => {
      while (waiting.length === 0 && !closed) {
        socket.resume();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return waiting.shift();
    },
  };
}
