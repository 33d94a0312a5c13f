import type { RequestListener } from 'node:http';

/** Names that tools rely on (ambient contract 2.6). */
type ReadinessTask = 'state manager' | 'proxy' | 'dns proxy' | 'workload proxy manager' | 'kernel path';

/** Tracks pending start-up tasks; a task can become pending again. */
export class Readiness {
  readonly #pending = new Set<ReadinessTask>();
  #onReady: (() => void) | undefined;

  /** Marks a task as pending; the proxy is not ready until it is done. */
  block(task: ReadinessTask): void {
    this.#pending.add(task);
  }

  done(task: ReadinessTask): void {
    this.#pending.delete(task);
    if (this.#pending.size > 0) return;
    this.#onReady?.();
    this.#onReady = undefined;
  }

  /** Calls `callback` once, when the last pending task is done. */
  onceReady(callback: () => void): void {
    this.#onReady = callback;
  }

  /** Returns the pending tasks, sorted. */
  pending(): readonly ReadinessTask[] {
    return [...this.#pending].sort();
  }
}

/** Returns the handler of `GET /healthz/ready` (ambient contract 2.6, conformance PRC-17). */
export function readinessHandler(readiness: Readiness): RequestListener {
  return (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0];
    if (path !== '/healthz/ready') {
      response.writeHead(404).end();
      return;
    }
    if (request.method !== 'GET') {
      response.writeHead(405, { allow: 'GET' }).end();
      return;
    }
    const pending = readiness.pending();
    if (pending.length === 0) response.writeHead(200, { 'content-type': 'text/plain' }).end('ready\n');
    else
      response
        .writeHead(500, { 'content-type': 'text/plain' })
        .end(`not ready, pending: ${pending.join(', ')}\n`);
  };
}
