import { KmeshError } from '@kmesh/api';
import { request } from 'undici';

/** Client of the daemon's admin API. */
export interface AdminClient {
  /** Sends `GET path` and returns the JSON answer. Throws KMESH_ADMIN_UNREACHABLE or KMESH_ADMIN_ANSWER. */
  json(path: string): Promise<unknown>;
  /** Sends `GET path` and returns the text of the answer. Throws as `json`. */
  text(path: string): Promise<string>;
  /** Sends `POST path` and returns the text of the answer. Throws as `json`. */
  post(path: string): Promise<string>;
}

const connectTimeoutMilliseconds = 3_000;
const answerTimeoutMilliseconds = 30_000;

/**
 * Creates a client of the admin API (ambient contract 13.1), or of another port of the daemon.
 *
 * @param option the command-line option that `base` came from, for messages
 */
export function adminClient(base: string, option = '--admin'): AdminClient {
  if (!URL.canParse(base) || !/^https?:$/.test(new URL(base).protocol)) {
    throw new KmeshError('KMESH_USAGE', `${option} ${base} is not a URL such as http://localhost:15000`);
  }
  const call = async (method: 'GET' | 'POST', path: string): Promise<string> => {
    const url = new URL(path, base);
    try {
      const { statusCode, body } = await request(url, {
        method,
        headersTimeout: answerTimeoutMilliseconds,
        bodyTimeout: answerTimeoutMilliseconds,
        signal: AbortSignal.timeout(connectTimeoutMilliseconds + answerTimeoutMilliseconds),
      });
      const text = await body.text();
      if (statusCode !== 200) {
        throw new KmeshError(
          'KMESH_ADMIN_ANSWER',
          `${url.href} answered ${statusCode}: ${text.trim().split('\n', 1)[0] ?? ''}`,
        );
      }
      return text;
    } catch (error) {
      if (error instanceof KmeshError) throw error;
      const reason =
        error instanceof Error
          ? error.cause instanceof Error
            ? error.cause.message
            : error.message
          : String(error);
      throw new KmeshError(
        'KMESH_ADMIN_UNREACHABLE',
        `no answer from the Kmesh daemon at ${url.origin} (${reason}); is it running, and is ${option} right?`,
        { cause: error },
      );
    }
  };
  return {
    json: async (path) => JSON.parse(await call('GET', path)) as unknown,
    text: (path) => call('GET', path),
    post: (path) => call('POST', path),
  };
}
