import { getSystemErrorName } from 'node:util';
import { KmeshError, type KmeshErrorCode } from '@kmesh/api';

/** Errno values that the kernel returns and libuv does not name. */
const kernelOnlyErrnoNames: ReadonlyMap<number, string> = new Map([
  [61, 'ENODATA'],
  [62, 'ETIME'],
  [77, 'EBADFD'],
  [122, 'EDQUOT'],
  [524, 'ENOTSUPP'],
]);

/** Returns the symbolic name of a positive errno value, such as `EPERM`; `E<number>` if it has none. */
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

/** A failed system call and its errno. */
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

/** A BPF object that the kernel refused, with the verifier's log. */
export class BpfLoadError extends SystemCallError {
  /** The refused program; `undefined` if no single program failed but, for instance, a map or the ELF file. */
  readonly program: string | undefined;
  /** The last meaningful lines of the log. */
  readonly summary: string;
  /** The whole log of the verifier and libbpf. */
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
 * become `KMESH_BPF_PERMISSION`: the remedy is always the same.
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

/** Builds the error for an argument outside what the function accepts. */
export function invalidArgument(name: string, value: unknown, allowed: string): KmeshError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return new KmeshError('KMESH_INVALID_ARGUMENT', `${name} is ${shown}; it must be ${allowed}`);
}

/** Builds the error for use after `close()`. */
export function alreadyClosed(what: string): KmeshError {
  return new KmeshError('KMESH_CLOSED', `${what} is closed`);
}

/** Throws `KMESH_INVALID_ARGUMENT` unless `value` is an integer in `minimum..maximum`; returns it. */
export function integerIn(name: string, value: number, minimum: number, maximum: number): number {
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
    throw invalidArgument(name, value, `an integer between ${minimum} and ${maximum}`);
  }
  return value;
}

/** Throws `KMESH_INVALID_ARGUMENT` unless `value` can be a file descriptor; returns it. */
export function descriptor(name: string, value: number): number {
  return integerIn(name, value, 0, 0x7fff_ffff);
}

/** Throws `KMESH_INVALID_ARGUMENT` unless `bytes` holds exactly `length` bytes (at least, with `atLeast`). */
export function bytesOf(name: string, bytes: Uint8Array, length: number, atLeast = false): Uint8Array {
  if (!(bytes instanceof Uint8Array)) throw invalidArgument(name, bytes, 'a Uint8Array');
  if (atLeast ? bytes.byteLength < length : bytes.byteLength !== length) {
    const allowed = `${atLeast ? 'at least ' : ''}${length} bytes long`;
    throw invalidArgument(`the length of ${name}`, bytes.byteLength, allowed);
  }
  return bytes;
}

/**
 * Throws `KMESH_INVALID_ARGUMENT` unless `value` is a non-empty path without NUL, at most `maximum` bytes; returns it.
 */
export function pathOf(name: string, value: string, maximum = 4095): string {
  if (
    typeof value !== 'string' ||
    value === '' ||
    value.includes('\0') ||
    Buffer.byteLength(value) > maximum
  ) {
    throw invalidArgument(name, value, `a path of 1 to ${maximum} bytes without NUL`);
  }
  return value;
}

/** Lines of the log that do not state the reason: instructions, register states, statistics, delimiters. */
const noise = [
  /^(libbpf: )?(prog '.*': )?-- (BEGIN|END) PROG LOAD LOG --/,
  /^libbpf: (failed to load object|prog '.*': (BPF program load failed|failed to load))/,
  /^(processed \d+ insns|verification time|stack depth|mark_precise|func#\d)/,
  /^(from \d+ to \d+|\d+: )/,
  /^(;|R\d+(_\w+)?=|$)/,
];

/**
 * Extracts the reason of a failed load from its log: the last lines that are neither instructions nor statistics, and
 * the source line that the verifier had reached.
 *
 * @param lines - the maximum number of lines.
 */
export function summarizeVerifierLog(log: string, lines = 2): string {
  const all = log.split('\n').map((line) => line.trim());
  const meaningful = all
    .filter((line) => !noise.some((pattern) => pattern.test(line)))
    .slice(-lines)
    .map((line) => line.replace(/^libbpf: /, ''));
  // The verifier's notes look like "; return *number; @ file.c:20".
  const source = all.findLast((line) => line.startsWith('; ') && !line.startsWith(';  @'));
  return [...meaningful, ...(source === undefined ? [] : [`at "${source.slice(2)}"`])].join('; ');
}

/** The verifier's cost of a program; figures that the kernel does not report are 0. */
export interface VerifierStatistics {
  /** Processed instructions, at most {@link VerifierStatistics.instructionLimit}. */
  readonly processedInstructions: number;
  readonly instructionLimit: number;
  readonly microseconds: number;
  /** Stack bytes of the program and of each of its functions; the kernel allows 512 along any call chain. */
  readonly stackBytes: readonly number[];
}

/** Parses the statistics that `BPF_LOG_STATS` adds to the verifier's log. */
export function readVerifierStatistics(log: string): VerifierStatistics {
  const instructions = /^processed (\d+) insns \(limit (\d+)\)/m.exec(log);
  const time = /^verification time (\d+) usec/m.exec(log);
  const stack = /^stack depth ([\d+]+)/m.exec(log);
  return {
    processedInstructions: Number(instructions?.[1] ?? 0),
    instructionLimit: Number(instructions?.[2] ?? 0),
    microseconds: Number(time?.[1] ?? 0),
    stackBytes: stack?.[1]?.split('+').map(Number) ?? [],
  };
}
