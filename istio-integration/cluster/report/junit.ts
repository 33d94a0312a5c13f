/** Result of one case. */
export interface Verdict {
  readonly name: string;
  readonly seconds: number;
  /** Message of its failure. */
  readonly failure: string | undefined;
  /** Its measurements, in one line. */
  readonly measured?: string | undefined;
}

/** Returns the results as a JUnit file. */
export function junit(suite: string, verdicts: readonly Verdict[]): string {
  const failures = verdicts.filter(({ failure }) => failure !== undefined).length;
  const seconds = verdicts.reduce((sum, verdict) => sum + verdict.seconds, 0);
  const cases = verdicts.map(({ name, seconds: time, failure, measured }) => {
    const head = `  <testcase classname="${suite}" name="${escaped(name)}" time="${time.toFixed(3)}"`;
    const inside = [
      ...(failure === undefined ? [] : [`    <failure>${escaped(failure)}</failure>`]),
      ...(measured === undefined ? [] : [`    <system-out>${escaped(measured)}</system-out>`]),
    ];
    return inside.length === 0 ? `${head}/>` : [`${head}>`, ...inside, '  </testcase>'].join('\n');
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite name="${suite}" tests="${verdicts.length}" failures="${failures}" time="${seconds.toFixed(3)}">`,
    ...cases,
    '</testsuite>',
    '',
  ].join('\n');
}

/** Escapes text for XML; removes characters that XML does not allow, such as terminal escapes. */
function escaped(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that XML cannot hold.
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, '')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
  );
}
