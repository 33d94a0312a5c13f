/** What the verifier and libbpf print around the reason: instructions, register states, statistics, frames of the log. */
const noise = [
  /^(libbpf: )?(prog '.*': )?-- (BEGIN|END) PROG LOAD LOG --/,
  /^libbpf: (failed to load object|prog '.*': (BPF program load failed|failed to load))/,
  /^(processed \d+ insns|verification time|stack depth|mark_precise|func#\d)/,
  /^(from \d+ to \d+|\d+: )/,
  /^(;|R\d+(_\w+)?=|$)/,
];

/**
 * Why a load failed, from its log: the last lines that are neither instructions nor statistics, and the source line that the
 * verifier had reached.
 *
 * @param lines - how many to keep at most.
 */
export function summarizeVerifierLog(log: string, lines = 2): string {
  const all = log.split('\n').map((line) => line.trim());
  const meaningful = all
    .filter((line) => !noise.some((pattern) => pattern.test(line)))
    .slice(-lines)
    .map((line) => line.replace(/^libbpf: /, ''));
  // The verifier's notes look like "; return *number; @ file.c:20".
  const source = all.findLast((line) => line.startsWith('; ') && !line.startsWith(';  @'));
  return [...meaningful, ...(source === undefined ? [] : [`at "${source.slice(2)}"`])].join('; ');
}
