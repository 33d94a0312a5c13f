import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { isKmeshError } from '@kmesh/api';
import { refuseChange, refuseForeign, refuseOthers } from './guard.ts';
import { type ProfileAnswer, Profiles } from './profiles.ts';
import { streamJson } from './stream-json.ts';

/** Runtime control of the log filter. The probe's logger implements it. */
interface LogControl {
  /** The current filter as text. */
  current(): string;
  /** Adds clauses; throws an error that names the bad clause. */
  add(clauses: string): void;
  reset(): void;
}

/** Data and actions of the admin server. Any part may change at any time, so it is read anew for every request. */
export interface AdminSources {
  readonly log: LogControl;
  /** Starts the drain. */
  readonly quit: () => void;
  /** Builds the config dump (ambient contract 13.2), for `streamJson`. */
  readonly configDump: () => Promise<unknown>;
  /** Further read-only JSON views by path, for kmeshctl and the page; KMESH_QUESTION becomes 400. */
  readonly views: Readonly<Record<string, (query: URLSearchParams) => unknown>>;
  /** The HTML page at `/`. */
  readonly page: () => string;
}

const loggingUsage = [
  'usage: POST /logging                     show the current filter',
  '       POST /logging?level=LEVEL         LEVEL: off, error, warn, info, debug, trace, or scope=level,…',
  '       POST /logging?reset               restore the filter of the start',
  '',
].join('\n');

/** Returns the request handler of the admin server (ambient contract 13.1, conformance OBS-03, OBS-05, PRC-06, PRC-07). */
export function adminHandler(sources: AdminSources): RequestListener {
  const profiles = new Profiles();
  return (request, response) => {
    try {
      const refused = refuseForeign(request.headers);
      if (refused !== undefined) text(response, 403, `${refused}\n`);
      else answer(sources, profiles, request, response);
    } catch (error) {
      fail(response, error);
    }
  };
}

function fail(response: ServerResponse, error: unknown): void {
  const asked = isKmeshError(error, 'KMESH_QUESTION');
  text(response, asked ? 400 : 500, `${error instanceof Error ? error.message : String(error)}\n`);
}

function answer(
  sources: AdminSources,
  profiles: Profiles,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const post = request.method === 'POST';
  const refused = post ? refuseChange(request.headers) : undefined;
  if (refused !== undefined) {
    text(response, 403, `${refused}\n`);
    return;
  }
  const view = Object.hasOwn(sources.views, url.pathname) ? sources.views[url.pathname] : undefined;
  const profile = profiles.answer(url.pathname, url.searchParams, post);
  if (url.pathname === '/') text(response, 200, sources.page(), 'text/html; charset=utf-8');
  else if (url.pathname === '/config_dump') void sendDump(response, sources.configDump());
  else if (url.pathname === '/logging') logging(response, sources.log, url.searchParams, post);
  else if (url.pathname === '/quitquitquit') quit(request, response, sources.quit);
  else if (profile !== undefined) void sendProfile(response, profile);
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
    // istioctl asks for the level with an empty one.
    if (level !== null && level !== '') log.add(level);
  } catch (error) {
    text(response, 400, `${error instanceof Error ? error.message : String(error)}\n${loggingUsage}`);
    return;
  }
  text(response, 200, `current log level is ${log.current()}\n`);
}

function quit(request: IncomingMessage, response: ServerResponse, start: () => void): void {
  if (request.method !== 'POST') {
    response.setHeader('allow', 'POST');
    text(response, 405, 'use POST to shut down\n');
    return;
  }
  const refused = refuseOthers(request);
  if (refused !== undefined) {
    text(response, 403, `${refused}\n`);
    return;
  }
  text(response, 200, 'shutdown now\n');
  start();
}

async function sendProfile(response: ServerResponse, profile: Promise<ProfileAnswer>): Promise<void> {
  try {
    const body = await profile;
    if (typeof body === 'string') text(response, 200, body);
    else response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(body);
  } catch (error) {
    fail(response, error);
  }
}

async function sendDump(response: ServerResponse, dump: Promise<unknown>): Promise<void> {
  try {
    const value = await dump;
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    await streamJson(value, response);
  } catch (error) {
    // A dump that ends in the middle must not look complete.
    if (response.headersSent) response.destroy();
    else fail(response, error);
  }
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
