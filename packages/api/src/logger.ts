/** From most to least severe. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Fields of a log line; scalar values only, so that an entry is one line. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** The logging interface of every component. Implementations never throw and never block traffic. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}
