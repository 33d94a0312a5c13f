import { performance } from 'node:perf_hooks';

export type LogFormat = 'plain' | 'json';

/** A field of a log line. `bare` values (addresses, numbers) are not quoted in the plain format. */
export interface LogField {
  readonly name: string;
  readonly value: string | number | boolean;
  readonly bare?: boolean;
}

/**
 * Formats one line with its line feed (ambient contract 2.8). Plain: time, level, scope, message and fields separated
 * by tabs; text is double-quoted. JSON: one object with the same keys.
 */
export function formatLine(
  format: LogFormat,
  level: string,
  scope: string,
  message: string,
  fields: readonly LogField[],
): string {
  const { before, after } = lineStart(format, level, scope, message);
  return `${before}${logTime()}${after}${formatFields(format, fields, true)}${lineEnd(format)}`;
}

/** The parts of a line around its time, up to its fields: made once for lines that are written often. */
interface LineStart {
  readonly before: string;
  readonly after: string;
}

/** Makes the start of a line. */
export function lineStart(format: LogFormat, level: string, scope: string, message: string): LineStart {
  return format === 'json'
    ? {
        before: `{"level":"${level}","time":"`,
        after: `","scope":${quoted(scope)},"message":${quoted(message)}`,
      }
    : { before: '', after: `\t${level}\t${scope}\t${oneLine(message)}` };
}

/** Formats fields with their separators. @param first whether they are the first of their line */
export function formatFields(format: LogFormat, fields: readonly LogField[], first = false): string {
  let text = '';
  if (format === 'json') {
    for (const { name, value } of fields) {
      text += `,${quoted(name)}:${typeof value === 'string' ? quoted(value) : value}`;
    }
    return text;
  }
  let separator = first ? '\t' : ' ';
  for (const { name, value, bare } of fields) {
    text += `${separator}${name}=${typeof value !== 'string' || bare ? value : quoted(value)}`;
    separator = ' ';
  }
  return text;
}

export function lineEnd(format: LogFormat): string {
  return format === 'json' ? '}\n' : '\n';
}

/** Quotes text; the common case without escapes avoids `JSON.stringify`. */
function quoted(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must be escaped
  return /["\\\u0000-\u001f]/.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** Replaces line breaks in a message, so that it stays one line. */
function oneLine(text: string): string {
  return /[\n\r]/.test(text) ? text.replaceAll('\r', '\\r').replaceAll('\n', '\\n') : text;
}

let offset = 0;
let secondOfText = -1;
let secondText = '';

/** Returns the current time for log lines, RFC 3339 with microseconds and `Z`. */
export function logTime(): string {
  const wall = Date.now() * 1000;
  let now = Math.floor(performance.now() * 1000) + offset;
  // Microseconds come from the monotonic clock, which is realigned whenever the wall clock was set.
  if (now - wall > 2000 || wall - now > 2000) {
    offset += wall - now;
    now = wall;
  }
  const second = Math.floor(now / 1_000_000);
  if (second !== secondOfText) {
    secondOfText = second;
    secondText = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return `${secondText}${String(now - second * 1_000_000).padStart(6, '0')}Z`;
}
