import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { isKmeshError } from '@kmesh/api';

/** Runtime control of the log filter. The probe's logger implements it. */
export interface LogControl {
  /** The current filter as text. */
  current(): string;
  /** Adds clauses; throws an error that names the bad clause. */
  add(clauses: string): void;
  reset(): void;
}

/** What the admin server shows and starts. Each part may change at any time: it is asked for every request. */
export interface AdminSources {
  readonly log: LogControl;
  /** Starts the drain. */
  readonly quit: () => void;
  /** Builds the config dump (ambient contract 13.2). */
  readonly configDump: () => unknown;
  /** Further read-only JSON views by path, for kmeshctl and the page; KMESH_QUESTION becomes 400. */
  readonly views: Readonly<Record<string, (query: URLSearchParams) => unknown>>;
  /** The page for people at `/`. */
  readonly page: () => string;
}

const loggingUsage = [
  'usage: POST /logging                     show the current filter',
  '       POST /logging?level=LEVEL         LEVEL: off, error, warn, info, debug, trace, or scope=level,…',
  '       POST /logging?reset               back to the filter of the start',
  '',
].join('\n');

/** Routes of the admin server (ambient contract 13.1, conformance OBS-03, PRC-06, PRC-07). */
export function adminHandler(sources: AdminSources): RequestListener {
  return (request, response) => {
    try {
      answer(sources, request, response);
    } catch (error) {
      const asked = isKmeshError(error, 'KMESH_QUESTION');
      text(response, asked ? 400 : 500, `${error instanceof Error ? error.message : String(error)}\n`);
    }
  };
}

function answer(sources: AdminSources, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const post = request.method === 'POST';
  const view = sources.views[url.pathname];
  if (url.pathname === '/') text(response, 200, sources.page(), 'text/html; charset=utf-8');
  else if (url.pathname === '/config_dump') json(response, sources.configDump());
  else if (url.pathname === '/logging') logging(response, sources.log, url.searchParams, post);
  else if (url.pathname === '/quitquitquit') quit(response, sources.quit, post);
  else if (view !== undefined) json(response, view(url.searchParams));
  else text(response, 404, 'not found\n');
}

function logging(response: ServerResponse, log: LogControl, query: URLSearchParams, post: boolean): void {
  if (!post) {
    response.setHeader('allow', 'POST');
    text(response, 405, loggingUsage);
    return;
  }
  const level = query.get('level');
  try {
    if (query.has('reset')) log.reset();
    if (level !== null) log.add(level);
  } catch (error) {
    text(response, 400, `${error instanceof Error ? error.message : String(error)}\n${loggingUsage}`);
    return;
  }
  text(response, 200, `current log level is ${log.current()}\n`);
}

function quit(response: ServerResponse, start: () => void, post: boolean): void {
  if (!post) {
    response.setHeader('allow', 'POST');
    text(response, 405, 'use POST to shut down\n');
    return;
  }
  text(response, 200, 'shutdown now\n');
  start();
}

function json(response: ServerResponse, value: unknown): void {
  text(response, 200, `${JSON.stringify(value, null, 2)}\n`, 'application/json');
}

function text(
  response: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}
