/** Runs suites one after the other, each in a separate process, and shows the remaining time. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createLab } from '@kmesh/lab';
import type { ChildMessage } from './child.ts';
import { MOST_IN_USE, settledShare } from './machine-load.ts';
import { secondsLeft, startProgress } from './progress.ts';
import { printReport, type Report, storeReport } from './report.ts';
import { suites } from './suites.ts';

interface RunOptions {
  readonly names: readonly string[];
  readonly quick: boolean;
  readonly store: boolean;
}

/** Outcome of a run. */
export interface Outcome {
  readonly reports: readonly Report[];
  /** Suites that ended without a report. */
  readonly failed: readonly string[];
  readonly interrupted: boolean;
}

/**
 * Runs suites in order. Prints each report, and stores it if `store` is set, as soon as its suite ends. SIGINT ends the
 * running suite with its complete rounds and starts no other.
 */
export async function runSuites({ names, quick, store }: RunOptions): Promise<Outcome> {
  const reports: Report[] = [];
  const failed: string[] = [];
  const progress = startProgress();
  const expected = names.map((name) => {
    const suite = suites.find((one) => one.name === name);
    return (quick ? suite?.quickSeconds : suite?.seconds) ?? 60;
  });
  const whole = names.length === suites.length;
  let interrupted = false;
  let child: ReturnType<typeof startSuite> | undefined;
  let asked = 0;
  const onSignal = (): void => {
    // A second SIGINT, unless a duplicate of the same Ctrl-C, kills a suite that does not respond.
    if (interrupted && performance.now() - asked > 1_000) child?.kill('SIGKILL');
    else if (child?.connected === true) child.send('interrupt');
    if (!interrupted) asked = performance.now();
    interrupted = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  try {
    for (const [at, name] of names.entries()) {
      if (interrupted) break;
      const inUse = await settledShare();
      if (inUse > MOST_IN_USE)
        console.error(
          `bench: other programs use ${percent(inUse)} of the CPUs: expect no figure to be repeated`,
        );
      const began = performance.now();
      let part = 0;
      let what = '';
      let report: Report | undefined;
      child = startSuite(name, { quick, whole });
      child.on('message', (message: ChildMessage) => {
        if (message.kind === 'report') report = message.report;
        else ({ part, what } = message);
      });
      const show = (): void => {
        const elapsed = (performance.now() - began) / 1_000;
        const left = secondsLeft({ expected, at, part, elapsed });
        progress.show({ suite: name, at: at + 1, of: names.length, what, left });
      };
      show();
      const timer = setInterval(show, 1_000);
      const [code] = (await once(child, 'exit')) as [number | null];
      // A suite killed by a signal leaves its lab behind; creating a lab removes it.
      if (code === null) await (await createLab()).close();
      clearInterval(timer);
      progress.clear();
      if (report === undefined) {
        if (!interrupted) failed.push(name);
        console.error(
          `bench: ${name} ended without a result (${interrupted ? 'interrupted' : `code ${code}`})`,
        );
        continue;
      }
      const took = Math.round((performance.now() - began) / 1_000);
      const settings = {
        ...report.environment,
        took: `${took} s`,
        ...(whole ? { 'among all suites': 'yes' } : {}),
        ...(inUse > MOST_IN_USE ? { 'in use by others': percent(inUse) } : {}),
        ...(interrupted ? { interrupted: 'yes' } : {}),
      };
      const complete = { ...report, environment: settings };
      reports.push(complete);
      printReport(complete);
      console.log('');
      if (store) storeReport(complete);
    }
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal);
  }
  return { reports, failed, interrupted };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function startSuite(name: string, { quick, whole }: { readonly quick: boolean; readonly whole: boolean }) {
  return fork(fileURLToPath(new URL('run-child.ts', import.meta.url)), [name], {
    env: {
      ...process.env,
      ...(quick ? { KMESH_BENCH_QUICK: '1' } : {}),
      ...(whole ? { KMESH_BENCH_WHOLE: '1' } : {}),
    },
  });
}
