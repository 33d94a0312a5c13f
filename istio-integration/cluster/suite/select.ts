/** Tests of a package, and the parts of each that run. */
export interface Selection {
  readonly names: readonly string[];
  /** A regular expression for the names of parts, and one for those of their parts, and so on. */
  readonly parts: readonly string[];
}

/** Selects tests as `go test -run` does: elements of `pattern` after a slash select parts of a test. */
export function selectTests(names: readonly string[], pattern: string): Selection {
  const [first = '', ...parts] = elements(pattern);
  const name = new RegExp(first);
  return { names: names.filter((one) => name.test(one)), parts };
}

/** Returns the value of `-test.run` that selects exactly these. */
export function runFlag({ names, parts }: Selection): string {
  // In parentheses: outside of them a bar separates whole patterns, with their slashes.
  return [`^(${names.join('|')})$`, ...parts.map((part) => `(${part})`)].join('/');
}

/** Returns the value of `-test.skip` that skips exactly the parts of these names. */
export function skipFlag(names: readonly string[]): string {
  return names
    .map((name) =>
      name
        .split('/')
        .map((element) => `^${element.replace(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)}$`)
        .join('/'),
    )
    .join('|');
}

/** Splits at each slash outside of brackets and parentheses. */
function elements(pattern: string): string[] {
  const found = [''];
  let depth = 0;
  for (const [token] of pattern.matchAll(/\\?./gs)) {
    if (token === '(' || token === '[') depth += 1;
    if (token === ')' || token === ']') depth -= 1;
    if (token === '/' && depth === 0) found.push('');
    else found[found.length - 1] += token;
  }
  return found;
}
