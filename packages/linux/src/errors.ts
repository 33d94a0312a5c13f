import { getSystemErrorName } from 'node:util';
import { KmeshError, type KmeshErrorCode } from '@kmesh/api';

/** Errno values that the kernel answers with but libuv has no name for. */
const kernelOnlyErrnoNames: ReadonlyMap<number, string> = new Map([
  [61, 'ENODATA'],
  [62, 'ETIME'],
  [77, 'EBADFD'],
  [122, 'EDQUOT'],
  [524, 'ENOTSUPP'],
]);

/** The symbolic name of a positive errno value, such as `EPERM`; `E<number>` when it has none. */
export function errnoName(errno: number): string {
  const known = kernelOnlyErrnoNames.get(errno);
  if (known !== undefined) return known;
  try {
    const name = getSystemErrorName(-errno);
    return name.startsWith('Unknown') ? `E${errno}` : name;
  } catch {
    return `E${errno}`;
  }
}

/** A failed system call: which one, and the errno that it answered with. */
export class SystemCallError extends KmeshError {
  /** Positive errno value. */
  readonly errno: number;
  /** Symbolic errno, such as `ECONNREFUSED`. */
  readonly errnoName: string;
  /** The call or socket option that failed, such as `connect` or `setsockopt(IP_TRANSPARENT)`. */
  readonly syscall: string;

  constructor(code: KmeshErrorCode, message: string, errno: number, syscall: string) {
    const name = errnoName(errno);
    super(code, `${message}: ${syscall} failed with ${name}`);
    this.name = 'SystemCallError';
    this.errno = errno;
    this.errnoName = name;
    this.syscall = syscall;
  }
}

/** A BPF object that the kernel refused, with what its verifier said. */
export class BpfLoadError extends SystemCallError {
  /** The program that was refused; undefined when the failure was not about one program (a map, the ELF file). */
  readonly program: string | undefined;
  /** The last meaningful lines of the log. */
  readonly summary: string;
  /** Everything that the verifier and libbpf said. */
  readonly verifierLog: string;

  constructor(
    code: KmeshErrorCode,
    object: string,
    errno: number,
    program: string | undefined,
    summary: string,
    verifierLog: string,
  ) {
    const what = program === undefined ? `BPF object ${object}` : `BPF program ${program} of ${object}`;
    super(code, `cannot load ${what}${summary === '' ? '' : ` (${summary})`}`, errno, 'bpf');
    this.name = 'BpfLoadError';
    this.program = program;
    this.summary = summary;
    this.verifierLog = verifierLog;
  }
}

/**
 * Returns `result` when it is not negative; otherwise throws a {@link SystemCallError}. EPERM and EACCES of `bpf` calls
 * become `KMESH_BPF_PERMISSION`, because what to do about them is always the same.
 */
export function checkResult(result: number, code: KmeshErrorCode, message: string, syscall: string): number {
  if (result >= 0) return result;
  throw systemCallError(-result, code, message, syscall);
}

/** Builds the error that {@link checkResult} throws. */
export function systemCallError(
  errno: number,
  code: KmeshErrorCode,
  message: string,
  syscall: string,
): SystemCallError {
  const denied = errno === 1 || errno === 13;
  if (denied && code.startsWith('KMESH_BPF_')) {
    const advice = `${message}; the process needs CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN)`;
    return new SystemCallError('KMESH_BPF_PERMISSION', advice, errno, syscall);
  }
  return new SystemCallError(code, message, errno, syscall);
}

/** The error for an argument that is not what the function takes. */
export function invalidArgument(name: string, value: unknown, allowed: string): KmeshError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return new KmeshError('KMESH_INVALID_ARGUMENT', `${name} is ${shown}; it must be ${allowed}`);
}

/** The error for using something after its `close()`. */
export function alreadyClosed(what: string): KmeshError {
  return new KmeshError('KMESH_CLOSED', `${what} is closed`);
}
