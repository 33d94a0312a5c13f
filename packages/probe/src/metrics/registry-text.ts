import { Registry } from 'prom-client';

/** Creates a registry of prom-client that writes OpenMetrics. */
export function createOpenMetricsRegistry(): Registry {
  const registry = new Registry();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  return registry;
}

/**
 * Formats a prom-client registry as part of an exposition: without the end marker and without families that have no
 * samples (ambient contract 15.1).
 */
export async function registryText(registry: Registry): Promise<string> {
  const text = (await registry.metrics()).replace(/# EOF\n?$/, '');
  return text
    .split(/^(?=# HELP )/m)
    .filter((family) => family.split('\n').some((line) => line !== '' && !line.startsWith('#')))
    .map((family) => `${family.replace(/\n+$/, '')}\n`)
    .join('');
}
