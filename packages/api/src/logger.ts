/** From the most to the least urgent. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Fields of a log line; values are text, numbers or booleans so that a line stays one line. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** What every component logs through. Implementations never throw and never block traffic. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}
