/** Examines the running kernel: `node examine.ts FILE` writes a {@link KernelReport} to FILE. */
import { renameSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { probeCapabilities } from '@kmesh/linux';
import { examineFeatures, examinePrograms } from './programs.ts';
import type { KernelReport } from './report.ts';
import { playScenes } from './scenes.ts';

const [file, where] = process.argv.slice(2);
if (file === undefined || (where !== 'emulated' && where !== undefined)) {
  console.error('usage: node examine.ts FILE [emulated]');
  process.exit(2);
}
const report: KernelReport = {
  kernel: release(),
  where: where ?? 'this machine',
  capabilities: probeCapabilities(),
  features: examineFeatures(),
  programs: await examinePrograms(),
  scenes: await playScenes(),
};
// A rename, so that the file is complete when it exists.
writeFileSync(`${file}.part`, JSON.stringify(report));
renameSync(`${file}.part`, file);
process.exit(0);
