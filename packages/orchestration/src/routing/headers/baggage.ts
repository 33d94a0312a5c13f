import type { Workload, WorkloadType } from '@kmesh/api';
import { type HeaderValue, headerLines } from './header-value.ts';

/** What a `baggage` header says about a peer (contract 6.3, 17); absent and empty values are `undefined`. */
export interface Baggage {
  readonly cluster?: string | undefined;
  readonly namespace?: string | undefined;
  readonly workloadType?: WorkloadType | undefined;
  readonly workloadName?: string | undefined;
  readonly serviceName?: string | undefined;
  readonly serviceVersion?: string | undefined;
  readonly region?: string | undefined;
  readonly zone?: string | undefined;
}

const WORKLOAD_TYPES: readonly WorkloadType[] = ['deployment', 'cronjob', 'pod', 'job'];
const TOKEN = /^[\w.-]+$/;
/** Far beyond any real peer; a header block is limited to 64 KiB anyway. */
const MAXIMUM_ENTRIES = 1_000;

/** Value of `baggage` that describes a workload: its non-empty values in the order of contract 6.3. */
export function formatBaggage(workload: Workload): string {
  const entries: [string, string][] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    // A type from a local mesh file is any text.
    [`k8s.${workload.workloadType}.name`, TOKEN.test(workload.workloadType) ? workload.workloadName : ''],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ];
  return entries
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/**
 * Reads `baggage`: any number of lines, unknown keys ignored, an empty value unsets, a value ends at a second `=`.
 * `undefined` when there is no such header. Never throws, whatever the bytes.
 */
export function parseBaggage(value: HeaderValue): Baggage | undefined {
  const lines = headerLines(value);
  if (lines.length === 0) return undefined;
  const baggage: { -readonly [Key in keyof Baggage]: Baggage[Key] } = {};
  for (const line of lines) {
    for (const entry of line.split(',', MAXIMUM_ENTRIES)) {
      const [key, text] = entry.split('=', 2);
      if (key === undefined || text === undefined) continue;
      readEntry(baggage, key.trim(), text.trim() || undefined);
    }
  }
  return baggage;
}

function readEntry(
  baggage: { -readonly [Key in keyof Baggage]: Baggage[Key] },
  key: string,
  value: string | undefined,
): void {
  switch (key) {
    case 'k8s.cluster.name':
      baggage.cluster = value;
      return;
    case 'k8s.namespace.name':
      baggage.namespace = value;
      return;
    case 'service.name':
      baggage.serviceName = value;
      return;
    case 'service.version':
      baggage.serviceVersion = value;
      return;
    case 'cloud.region':
      baggage.region = value;
      return;
    case 'cloud.availability_zone':
      baggage.zone = value;
      return;
  }
  const type = WORKLOAD_TYPES.find((candidate) => key === `k8s.${candidate}.name`);
  if (type === undefined) return;
  baggage.workloadType = value === undefined ? undefined : type;
  baggage.workloadName = value;
}
