/** Maximum number of bytes that {@link writeValue} writes. */
export const maximumValueBytes = 32;

/** Writes a sample's value in decimal for the exposition formats. @returns the end offset */
export function writeValue(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0 || !Number.isSafeInteger(value))
    return writeText(bytes, at, `${value}`.replace('Infinity', 'Inf'));
  if (value < 1_000_000_000) return writeDigits(bytes, at, value | 0, 0);
  const upper = Math.floor(value / 1_000_000_000);
  const lower = value - upper * 1_000_000_000;
  const middle = writeDigits(bytes, at, upper | 0, 0);
  return writeDigits(bytes, middle, lower | 0, 9);
}

function writeText(bytes: Uint8Array, at: number, text: string): number {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
  return at + text.length;
}

/** Writes a non-negative 31-bit number in decimal, zero-padded to `width`. */
function writeDigits(bytes: Uint8Array, at: number, value: number, width: number): number {
  let count = 1;
  for (let rest = (value / 10) | 0; rest > 0; rest = (rest / 10) | 0) count++;
  if (count < width) count = width;
  let rest = value;
  for (let position = at + count - 1; position >= at; position--) {
    const next = (rest / 10) | 0;
    bytes[position] = 0x30 + (rest - next * 10);
    rest = next;
  }
  return at + count;
}

/**
 * Formats `{name="value",…}` for the exposition formats; empty without labels. More values than names are a
 * programming error; with fewer values the last names are omitted.
 */
export function labelText(names: readonly string[], values: readonly string[]): string {
  if (values.length === 0) return '';
  let text = '{';
  for (let index = 0; index < values.length; index++) {
    if (index > 0) text += ',';
    text += `${names[index]}="${escapeLabelValue(values[index] ?? '')}"`;
  }
  return `${text}}`;
}

/** Escapes backslash, double quote and line feed. */
function escapeLabelValue(value: string): string {
  return /[\\"\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value;
}
