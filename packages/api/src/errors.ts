import { errorRegistry, type KmeshErrorCode, type RegisteredError } from './error-registry.ts';

export type { KmeshErrorCode };

/**
 * The error class of Kmesh. `message` is an actionable sentence: what failed, where, and what is allowed; `code` is
 * stable and registered.
 */
export class KmeshError extends Error {
  readonly code: KmeshErrorCode;

  constructor(code: KmeshErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KmeshError';
    this.code = code;
  }
}

/** Returns whether `error` is a {@link KmeshError}, also across copies of this package and threads. */
export function isKmeshError(error: unknown, code?: KmeshErrorCode): error is KmeshError {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false;
  return code === undefined ? error.code.startsWith('KMESH_') : error.code === code;
}

/** Returns the exit code for `error`: the registered one, or 1. */
export function exitCode(error: unknown): number {
  if (!isKmeshError(error)) return 1;
  const registered: RegisteredError | undefined = errorRegistry[error.code];
  return typeof registered?.outcome === 'number' ? registered.outcome : 1;
}
