/** Tests of a package, and what of each is to run. */
export interface Selection {
  readonly names: readonly string[];
  /** A regular expression for the names of parts, and one for those of their parts, and so on. */
  readonly parts: readonly string[];
}

/** Selects tests as `go test -run` does: what is behind a slash in `pattern` is for the parts of a test. */
export function selectTests(names: readonly string[], pattern: string): Selection {
  const [first = '', ...parts] = elements(pattern);
  const name = new RegExp(first);
  return { names: names.filter((one) => name.test(one)), parts };
}

/** What the program of the tests is to be told, so that it runs exactly those. */
export function runFlag({ names, parts }: Selection): string {
  // In brackets: outside of them a bar is between whole patterns, with their slashes.
  return [`^(${names.join('|')})$`, ...parts.map((part) => `(${part})`)].join('/');
}

/** What the program of the tests is to be told, so that it leaves out exactly the parts of these names. */
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

/** Splits at each slash outside of brackets. */
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
