/** A header as HTTP libraries hand it over: absent, one line, or several. */
export type HeaderValue = string | readonly string[] | undefined;

/** The lines of a header. */
export function headerLines(value: HeaderValue): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}
