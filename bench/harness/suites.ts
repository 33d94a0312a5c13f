/** A benchmark: `bench/<name>.ts`. */
interface SuiteEntry {
  readonly name: string;
  /** Duration on two CPUs in seconds: among all suites, and with `--quick`. */
  readonly seconds: number;
  readonly quickSeconds: number;
}

/** All suites, in the order of a full run: those that compare traffic first. */
export const suites: readonly SuiteEntry[] = [
  { name: 'onenode', seconds: 222, quickSeconds: 90 },
  { name: 'twonodes', seconds: 222, quickSeconds: 90 },
  { name: 'samenode', seconds: 113, quickSeconds: 45 },
  { name: 'handoff', seconds: 14, quickSeconds: 20 },
  { name: 'hook', seconds: 90, quickSeconds: 40 },
  { name: 'routes', seconds: 39, quickSeconds: 30 },
  { name: 'decisions', seconds: 22, quickSeconds: 25 },
  { name: 'dns', seconds: 27, quickSeconds: 20 },
  { name: 'events', seconds: 42, quickSeconds: 50 },
  { name: 'xds', seconds: 98, quickSeconds: 30 },
  { name: 'growth', seconds: 56, quickSeconds: 40 },
  { name: 'scrape', seconds: 100, quickSeconds: 60 },
  { name: 'restart', seconds: 64, quickSeconds: 25 },
  { name: 'footprint', seconds: 81, quickSeconds: 60 },
];
