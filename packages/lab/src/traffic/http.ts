import type { ChildProcess } from 'node:child_process';
import { type IncomingHttpHeaders, request } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectOptions } from './sockets.ts';

export interface HttpRequest extends ConnectOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends one HTTP/1.1 request on a new connection and closes it. Rejects with the socket's error. */
export async function requestHttp(
  host: { connect(options: ConnectOptions): Promise<Socket> },
  options: HttpRequest,
): Promise<HttpAnswer> {
  const socket = await host.connect(options);
  return await new Promise((resolve, reject) => {
    const call = request(
      {
        method: options.method ?? 'GET',
        path: options.path ?? '/',
        headers: { host: options.host, connection: 'close', ...options.headers },
        createConnection: () => socket,
        timeout: options.timeoutMs ?? 5000,
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
        response.once('error', reject);
      },
    );
    call.once('timeout', () =>
      call.destroy(new Error(`no answer from ${options.host}:${options.port} in time`)),
    );
    call.once('error', reject);
    call.end(options.body);
  });
}

/**
 * Whether a running helper program keeps this process alive. It does only while an answer is awaited: a test
 * that fails before it closes its lab must end, and the lab is then removed at exit.
 */
export function keepAlive(child: ChildProcess, wanted: boolean): void {
  const action = wanted ? 'ref' : 'unref';
  child[action]();
  for (const pipe of [child.stdin, child.stdout, child.stderr]) (pipe as Socket | null)?.[action]();
  child.channel?.[action]();
}
