import { errorRegistry, type KmeshErrorCode, type RegisteredError } from './error-registry.ts';

export type { KmeshErrorCode };

/**
 * The one error class of Kmesh. `message` is a sentence that a person can act on: what failed, where, and what
 * is allowed; `code` is stable and registered.
 */
export class KmeshError extends Error {
  readonly code: KmeshErrorCode;

  constructor(code: KmeshErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KmeshError';
    this.code = code;
  }
}

/** Whether `error` is a {@link KmeshError}, also across copies of this package and threads. */
export function isKmeshError(error: unknown, code?: KmeshErrorCode): error is KmeshError {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false;
  return code === undefined ? error.code.startsWith('KMESH_') : error.code === code;
}

/** Returns the exit code of a process that ends with `error`: the registered one, or 1. */
export function exitCode(error: unknown): number {
  if (!isKmeshError(error)) return 1;
  const registered: RegisteredError | undefined = errorRegistry[error.code];
  return typeof registered?.outcome === 'number' ? registered.outcome : 1;
}
