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

/** What the verifier spent on a program; what its kernel does not say is 0. */
export interface VerifierStatistics {
  /** Instructions that it walked, of at most {@link VerifierStatistics.instructionLimit}. */
  readonly processedInstructions: number;
  readonly instructionLimit: number;
  readonly microseconds: number;
  /** Bytes of stack of the program and of each of its functions; the kernel allows 512 along any call chain. */
  readonly stackBytes: readonly number[];
}

/** Reads the statistics that the verifier writes when it is asked for them (`BPF_LOG_STATS`). */
export function readVerifierStatistics(log: string): VerifierStatistics {
  const instructions = /^processed (\d+) insns \(limit (\d+)\)/m.exec(log);
  const time = /^verification time (\d+) usec/m.exec(log);
  const stack = /^stack depth ([\d+]+)/m.exec(log);
  return {
    processedInstructions: Number(instructions?.[1] ?? 0),
    instructionLimit: Number(instructions?.[2] ?? 0),
    microseconds: Number(time?.[1] ?? 0),
    stackBytes: stack?.[1]?.split('+').map(Number) ?? [],
  };
}
