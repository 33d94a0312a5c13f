import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Writes a generated file; with `--check` on the command line only fails when it differs from what it is generated from. */
export function writeGenerated(path: string, text: string, source: string): void {
  const file = new URL(`../${path}`, import.meta.url);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error(`${path} differs from ${source}; run: npm run generate`);
    process.exitCode = 1;
  }
}
