import { readdirSync, readFileSync } from 'node:fs';
import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client';
import { addCumulativeCounter } from '../metrics/control-metrics.ts';
import type { SeriesBudget } from '../metrics/messages.ts';
import { createOpenMetricsRegistry } from '../metrics/registry-text.ts';

/**
 * Creates the metric families of the process, with prom-client, in the scrape thread: reading /proc costs time that the
 * other threads do not have. `nodejs_*` of this thread would mislead and is left out.
 */
export function createProcessRegistry(budget: SeriesBudget, droppedLines: BigInt64Array): Registry {
  const registry = createOpenMetricsRegistry();
  collectDefaultMetrics({ register: registry as never });
  for (const { name } of registry.getMetricsAsArray()) {
    if (!name.startsWith('process_') || name === 'process_open_fds' || name === 'process_max_fds') {
      registry.removeSingleMetric(name);
    }
  }
  const registers = [registry];
  new Gauge({
    name: 'process_open_fds',
    help: 'Number of open file descriptors',
    registers,
    collect() {
      this.set(readdirSync('/proc/self/fd').length);
    },
  });
  new Gauge({
    name: 'process_max_fds',
    help: 'Maximum number of open file descriptors',
    registers,
    collect() {
      this.set(maximumDescriptors());
    },
  });
  new Gauge({
    name: 'kmesh_metrics_series',
    help: 'Series of connection metrics (unstable)',
    registers,
    collect() {
      this.set(Number(Atomics.load(budget.counters, 0)));
    },
  });
  addCumulativeCounter(
    registry,
    'kmesh_metrics_series_dropped_total',
    'Label sets refused by the cap on series (unstable)',
    () => Number(Atomics.load(budget.counters, 2)),
  );
  addCumulativeCounter(
    registry,
    'kmesh_log_lines_dropped_total',
    'Log lines dropped because their consumer was too slow (unstable)',
    () => Number(Atomics.load(droppedLines, 0)),
  );
  return registry;
}

function maximumDescriptors(): number {
  const match = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return match ? Number(match[1]) : Number.POSITIVE_INFINITY;
}
