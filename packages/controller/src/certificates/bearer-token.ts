import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { KmeshError } from '@kmesh/api';

/** Where the service account's token is mounted unless `AUTH_TOKEN` says otherwise. */
export const defaultTokenPath = './var/run/secrets/tokens/istio-token';

/** Yields the token for one call; `undefined`: calls go without one. */
export type TokenSource = () => Promise<string | undefined>;

/**
 * The token behind `AUTH_TOKEN`: an existing path is read anew for every call, since the kubelet replaces the file;
 * anything else is the token itself. Unset: the default path when it exists. Ambient contract 2.2.
 *
 * The source rejects with KMESH_TOKEN_UNREADABLE when the file cannot be read or is empty.
 */
export function tokenSource(setting: string | undefined, fallbackPath = defaultTokenPath): TokenSource {
  const path = setting ?? fallbackPath;
  if (setting !== undefined && !existsSync(setting)) return () => Promise.resolve(setting);
  if (setting === undefined && !existsSync(path)) return () => Promise.resolve(undefined);
  return async () => {
    let token: string;
    try {
      token = (await readFile(path, 'utf8')).trim();
    } catch (cause) {
      throw unreadable(path, cause instanceof Error ? cause.message : String(cause), cause);
    }
    if (token === '') throw unreadable(path, 'the file is empty');
    return token;
  };
}

function unreadable(path: string, reason: string, cause?: unknown): KmeshError {
  return new KmeshError('KMESH_TOKEN_UNREADABLE', `AUTH_TOKEN: no usable token in ${path}: ${reason}`, {
    cause,
  });
}
