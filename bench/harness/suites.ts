/** A benchmark: `bench/<name>.ts`. */
interface SuiteEntry {
  readonly name: string;
  /** Duration on two CPUs in seconds, in full and with `--quick`. */
  readonly seconds: number;
  readonly quickSeconds: number;
}

/** All suites, in the order of a full run: those that compare traffic first. */
export const suites: readonly SuiteEntry[] = [
  { name: 'onenode', seconds: 224, quickSeconds: 90 },
  { name: 'twonodes', seconds: 228, quickSeconds: 90 },
  { name: 'samenode', seconds: 101, quickSeconds: 45 },
  { name: 'handoff', seconds: 25, quickSeconds: 20 },
  { name: 'hook', seconds: 50, quickSeconds: 40 },
  { name: 'routes', seconds: 50, quickSeconds: 30 },
  { name: 'decisions', seconds: 30, quickSeconds: 25 },
  { name: 'dns', seconds: 40, quickSeconds: 20 },
  { name: 'events', seconds: 40, quickSeconds: 50 },
  { name: 'xds', seconds: 75, quickSeconds: 30 },
  { name: 'growth', seconds: 60, quickSeconds: 40 },
  { name: 'scrape', seconds: 145, quickSeconds: 60 },
  { name: 'restart', seconds: 66, quickSeconds: 25 },
  { name: 'footprint', seconds: 65, quickSeconds: 60 },
];
