import { readdirSync, readFileSync } from 'node:fs';
import type { NodeProxy } from '@kmesh/lab';
import { openPinnedMap } from '@kmesh/linux';

/** Resources of an idle daemon. */
export interface Holding {
  /** Seconds since the soak began. */
  readonly at: number;
  /** Anonymous memory after a collection, in MiB. */
  readonly memory: number;
  readonly descriptors: number;
  readonly threads: number;
  /** Number of entries of the kernel tables and of every hash map that programs write. */
  readonly entries: number;
}

/** Maps other than LRU maps, whose entries the kernel reuses. */
const countedMaps = /^map-(handoffs|picks|verdicts|pod_addresses)$/;

export async function holdingOf(proxy: NodeProxy, pins: string, at: number): Promise<Holding> {
  await proxy.http(15000, '/debug/pprof/heap/profiling?activate=true', { method: 'POST' });
  await proxy.http(15000, '/debug/pprof/heap?gc=1');
  await proxy.http(15000, '/debug/pprof/heap/profiling?activate=false', { method: 'POST' });
  const status = readFileSync(`/proc/${proxy.pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1]);
  const { usage } = await proxy.tables();
  return {
    at,
    memory: field('RssAnon') / 1024,
    descriptors: readdirSync(`/proc/${proxy.pid}/fd`).length,
    threads: field('Threads'),
    entries: usage.reduce((sum, { used }) => sum + used, 0) + entriesOfPinned(pins),
  };
}

function entriesOfPinned(pins: string): number {
  let entries = 0;
  for (const file of readdirSync(pins, { recursive: true, encoding: 'utf8' })) {
    const name = file.split('/').at(-1) ?? '';
    if (!countedMaps.test(name)) continue;
    using map = openPinnedMap(`${pins}/${file}`);
    for (const { count } of map.lookupBatch()) entries += count;
  }
  return entries;
}

/** Trend of a figure over the soak. */
export interface Trend {
  readonly name: keyof Omit<Holding, 'at'>;
  readonly first: number;
  readonly last: number;
  readonly most: number;
  /** Increase of the regression line through all samples after the warm-up. */
  readonly growth: number;
  /** Maximum increase. */
  readonly bound: number;
}

/** During the first samples the daemon still loads code and fills its pools. */
const WARM_UP = 1 / 3;

/** A share of the mean plus the tolerance of one sample. */
const bounds = {
  memory: { share: 0.1, slack: 12 },
  descriptors: { share: 0.05, slack: 8 },
  threads: { share: 0, slack: 1 },
  entries: { share: 0.05, slack: 16 },
} as const;

export function trendsOf(all: readonly Holding[]): Trend[] {
  const samples = all.slice(Math.floor(all.length * WARM_UP));
  return (Object.keys(bounds) as Trend['name'][]).map((name) => {
    const values = samples.map((sample) => sample[name]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      name,
      first: values[0] ?? 0,
      last: values.at(-1) ?? 0,
      most: Math.max(...values),
      growth: slopeOf(samples, name) * ((samples.at(-1)?.at ?? 0) - (samples[0]?.at ?? 0)),
      bound: mean * bounds[name].share + bounds[name].slack,
    };
  });
}

/** Slope of the least-squares line, per second. */
function slopeOf(samples: readonly Holding[], name: Trend['name']): number {
  const count = samples.length;
  const meanTime = samples.reduce((sum, { at }) => sum + at, 0) / count;
  const meanValue = samples.reduce((sum, sample) => sum + sample[name], 0) / count;
  let [above, below] = [0, 0];
  for (const sample of samples) {
    above += (sample.at - meanTime) * (sample[name] - meanValue);
    below += (sample.at - meanTime) ** 2;
  }
  return below === 0 ? 0 : above / below;
}
