import type { LogFields, Logger, LogLevel } from '@kmesh/api';
import { type Logger as PinoLogger, pino } from 'pino';
import { formatLine, type LogField, type LogFormat, logTime } from './line-format.ts';
import type { LogFilter } from './log-filter.ts';
import type { LogWriter } from './log-writer.ts';

/** The daemon's log: every line belongs to a scope (`xds`, `ca`, `dns`…) and passes the filter. */
export interface ScopedLogger extends Logger {
  readonly scope: string;
  /** Returns whether a line of this level would be written; check it before preparing costly fields. */
  enabled(level: LogLevel): boolean;
  trace(message: string, fields?: LogFields): void;
  /** Returns the logger of another scope, with the same filter and destination. */
  child(scope: string): ScopedLogger;
}

interface LoggerOptions {
  readonly scope: string;
  readonly filter: LogFilter;
  readonly writer: LogWriter;
  /** `json` for `LOG_FORMAT=json`, else `plain`. */
  readonly format: LogFormat;
}

/** Returns a logger in the format of ambient contract 2.8. */
export function createLogger(options: LoggerOptions): ScopedLogger {
  return scoped(
    options,
    options.format === 'json' ? jsonEngine(options) : plainEngine(options),
    options.scope,
  );
}

function scoped(options: LoggerOptions, engine: PinoLogger, scope: string): ScopedLogger {
  const own = engine.child({ scope });
  function at(level: LogLevel): (message: string, fields?: LogFields) => void {
    return (message, fields) => {
      if (options.filter.enabled(scope, level)) own[level](fields ?? {}, message);
    };
  }
  return {
    scope,
    enabled: (level) => options.filter.enabled(scope, level),
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    trace: at('trace'),
    child: (other) => scoped(options, engine, other),
  };
}

function jsonEngine({ writer }: LoggerOptions): PinoLogger {
  return pino(
    {
      level: 'trace',
      base: undefined as never,
      messageKey: 'message',
      timestamp: () => `,"time":"${logTime()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    { write: (line: string) => writer.write(line) },
  );
}

/** Creates a pino logger that formats the plain layout from the values passed along with pino's JSON. */
function plainEngine({ writer }: LoggerOptions): PinoLogger {
  const destination = {
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    lastMsg: '',
    lastObj: {} as LogFields,
    lastLogger: undefined as PinoLogger | undefined,
    write(): void {
      const level = pino.levels.labels[this.lastLevel] ?? 'info';
      const scope = String(this.lastLogger?.bindings()['scope'] ?? '');
      writer.write(formatLine('plain', level, scope, this.lastMsg, plainFields(this.lastObj)));
    },
  };
  return pino({ level: 'trace', base: undefined as never, timestamp: false }, destination);
}

/** An IP address with or without a port or prefix length: written without quotes. */
const addressLike = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[\da-f]*:[\da-f:.]*\]?)(?:[:/]\d+)?$/i;

function plainFields(fields: LogFields): LogField[] {
  const result: LogField[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (typeof value === 'number' || typeof value === 'boolean') result.push({ name, value });
    else result.push({ name, value, bare: addressLike.test(value) });
  }
  return result;
}
