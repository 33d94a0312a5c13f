import { invalidArgument } from './errors.ts';

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

/** Throws `KMESH_INVALID_ARGUMENT` unless `value` is a non-empty path without NUL, at most `maximum` bytes; returns it. */
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
