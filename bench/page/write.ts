import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Report } from '../harness/report.ts';
import { renderPages } from './page.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Writes the page and charts from bench/results, and removes unused charts. Returns the paths of all files. */
export function writeReport(): string[] {
  const pages = renderPages(storedReports());
  for (const chart of strayCharts(pages.keys())) rmSync(join(root, chart));
  for (const [path, text] of pages) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return [...pages.keys()];
}

/** Returns files that differ from bench/results or are unused. */
export function staleFiles(): string[] {
  const pages = renderPages(storedReports());
  const differs = ([path, text]: readonly [string, string]): boolean =>
    !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== text;
  return [...[...pages].filter(differs).map(([path]) => path), ...strayCharts(pages.keys())];
}

function storedReports(): Report[] {
  return globSync('bench/results/*.json', { cwd: root })
    .sort()
    .map((path) => JSON.parse(readFileSync(join(root, path), 'utf8')) as Report);
}

function strayCharts(wanted: Iterable<string>): string[] {
  const known = new Set(wanted);
  return globSync('docs/performance/*.svg', { cwd: root }).filter((path) => !known.has(path));
}
