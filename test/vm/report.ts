import type { Capability } from '@kmesh/linux';

/** One program under one kernel. A value that its verifier does not report is 0. */
export interface ProgramRow {
  readonly name: string;
  readonly loaded: boolean;
  /** Why it is not loaded. */
  readonly reason: string;
  /** Instructions that the verifier processed; the limit is one million. */
  readonly processedInstructions: number;
  readonly verificationMs: number;
  /** Bytes of the deepest call chain, rounded as the verifier does; it allows 512. */
  readonly stackBytes: number;
  /** The functions of that chain, the program first, each with its own stack. */
  readonly callChain: readonly { readonly function: string; readonly stackBytes: number }[];
  /** Instructions after the kernel's own rewriting. */
  readonly instructions: number;
  readonly machineCodeBytes: number;
}

/** A part of the kernel path that a kernel may lack independently of others. */
export interface FeatureRow {
  readonly name: string;
  readonly on: boolean;
  /** Reason why it is off, or its substitute. */
  readonly detail: string;
}

/** A test with real sockets. */
export interface SceneRow {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Results for one kernel. */
export interface KernelReport {
  readonly kernel: string;
  readonly where: 'this machine' | 'emulated';
  readonly capabilities: readonly Capability[];
  readonly features: readonly FeatureRow[];
  readonly programs: readonly ProgramRow[];
  readonly scenes: readonly SceneRow[];
}

/** A quarter of the verifier's limit: older kernels process up to four times as many for the same program. */
const INSTRUCTION_BUDGET = 250_000;
const STACK_BUDGET = 512;

/** Problems, one sentence each; empty if there are none. */
export function problems({ kernel, programs, scenes }: KernelReport): string[] {
  return [
    ...programs.flatMap((program) => programProblems(program).map((problem) => `${kernel}: ${problem}`)),
    ...scenes.filter(({ ok }) => !ok).map(({ name, detail }) => `${kernel}: ${name}: ${detail}`),
  ];
}

function programProblems(program: ProgramRow): string[] {
  const { name, loaded, reason, processedInstructions, stackBytes } = program;
  if (!loaded) return reason.startsWith('left out') ? [] : [`${name} does not load: ${reason}`];
  return [
    ...(processedInstructions > INSTRUCTION_BUDGET
      ? [
          `the verifier walks ${processedInstructions} instructions of ${name}, more than ${INSTRUCTION_BUDGET}`,
        ]
      : []),
    ...(stackBytes > STACK_BUDGET
      ? [`${name} needs ${stackBytes} bytes of stack, more than ${STACK_BUDGET}: ${chainOf(program)}`]
      : []),
  ];
}

function chainOf({ callChain }: ProgramRow): string {
  return callChain.map((call) => `${call.function} ${call.stackBytes}`).join(' > ');
}

/** Prints the tables of one kernel. */
export function printReport(report: KernelReport): void {
  console.log(`\n== Linux ${report.kernel}, ${report.where}\n`);
  printTable(
    ['capability', 'there', 'since', 'remark'],
    report.capabilities.map((row) => [
      row.description,
      row.available ? 'yes' : 'NO',
      row.requiredKernel,
      row.reason,
    ]),
  );
  printTable(
    ['feature', 'on', 'remark'],
    report.features.map(({ name, on, detail }) => [name, on ? 'yes' : 'NO', detail]),
  );
  printTable(
    ['program', 'verifier walked', 'in ms', 'instructions', 'machine code', 'remark'],
    report.programs.map((row) => [
      row.name,
      `${row.processedInstructions}`,
      row.verificationMs.toFixed(1),
      `${row.instructions}`,
      `${row.machineCodeBytes}`,
      row.loaded ? '' : row.reason,
    ]),
  );
  printTable(
    ['deepest call chain of', 'stack', 'functions and the stack of each'],
    report.programs
      .filter(({ loaded }) => loaded)
      .map((row) => [row.name, `${row.stackBytes}`, chainOf(row)]),
  );
  printTable(
    ['with real sockets', 'well', 'remark'],
    report.scenes.map(({ name, ok, detail }) => [name, ok ? 'yes' : 'NO', detail]),
  );
}

function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of [header, ...rows]) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
  console.log('');
}
