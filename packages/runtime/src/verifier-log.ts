const noise = [
  /^processed \d+ insns/,
  /^verification time/,
  /^stack depth/,
  /^libbpf: (failed to load object|prog '.*': (-- BEGIN|BPF program load failed|failed to load)|-- END)/,
  /^-- (BEGIN|END) PROG LOAD LOG --/,
  /^\d+: \([0-9a-f]{2}\)/,
  /^from \d+ to \d+/,
  /^;/,
  /^R\d+[_= ]/,
  /^\d+: R\d/,
  /^mark_precise/,
  /^func#/,
  /^$/,
];

/**
 * The last lines of a load log that say why: registers, instructions and statistics are left out.
 *
 * @param lines - how many to keep at most.
 */
export function summarizeVerifierLog(log: string, lines = 2): string {
  const meaningful = log
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !noise.some((pattern) => pattern.test(line)));
  return meaningful
    .slice(-lines)
    .map((line) => line.replace(/^libbpf: /, ''))
    .join('; ');
}
