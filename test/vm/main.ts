/**
 * `npm run test:kernels`: verification of the programs by this machine's kernel and by Debian 12's, features that each
 * kernel lacks, and a few real connections on each. `--json` prints the reports as one object in the last line. The
 * exit code is not 0 when a program does not load where it should, needs too much, or a connection goes wrong.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianKernel } from './debian-kernel.ts';
import { runUnder } from './machine.ts';
import { type KernelReport, printReport, problems } from './report.ts';

const flags = process.argv.slice(2);
if (flags.some((flag) => flag !== '--json')) {
  console.error('usage: npm run test:kernels -- [--json]');
  process.exit(2);
}
const started = performance.now();
const reports: KernelReport[] = [examineHere()];
printReport(reports[0] as KernelReport);
const kernel = debianKernel();
console.error(`test-kernels: booting ${kernel.release} in an emulated machine`);
const text = await runUnder(kernel, 'node test/vm/examine.ts /run/kernels/result/report emulated');
const emulated = JSON.parse(text) as KernelReport;
reports.push(emulated);
printReport(emulated);
const found = reports.flatMap(problems);
for (const problem of found) console.log(`PROBLEM: ${problem}`);
console.log(`${reports.length} kernels in ${Math.round((performance.now() - started) / 1000)} s`);
if (flags.includes('--json')) console.log(JSON.stringify({ reports, problems: found }));
process.exit(found.length === 0 ? 0 : 1);

/** A separate process, as in the emulated machine. */
function examineHere(): KernelReport {
  const work = mkdtempSync(join(tmpdir(), 'kmesh-kernels-'));
  try {
    const file = join(work, 'report');
    const program = fileURLToPath(new URL('examine.ts', import.meta.url));
    execFileSync(process.execPath, [program, file], { stdio: ['ignore', 'inherit', 'inherit'] });
    return JSON.parse(readFileSync(file, 'utf8')) as KernelReport;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
