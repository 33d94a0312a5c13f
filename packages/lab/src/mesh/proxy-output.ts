/** One line of the access log (ambient contract 16). */
export interface AccessLine {
  readonly level: string;
  readonly message: string;
  /** Values by contract name, such as `src.addr`, `bytes_sent`; texts without quotes. */
  readonly fields: Readonly<Record<string, string>>;
}

/** A sample of the exposition. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Traffic counters of one reporter, summed over all other labels. */
export interface TrafficCounts {
  readonly opened: number;
  readonly closed: number;
  /** Bytes of clients. */
  readonly received: number;
  /** Bytes of servers. */
  readonly sent: number;
  readonly failed: number;
}

const traffic = {
  opened: 'istio_tcp_connections_opened_total',
  closed: 'istio_tcp_connections_closed_total',
  received: 'istio_tcp_received_bytes_total',
  sent: 'istio_tcp_sent_bytes_total',
  failed: 'istio_tcp_connections_failed_total',
} as const;

/** Returns the access log lines of a log in the plain format, without an incomplete last line. */
export function parseAccessLog(log: string): AccessLine[] {
  const whole = log.slice(0, log.lastIndexOf('\n') + 1);
  return whole.split('\n').flatMap((line) => {
    const [, level = '', scope, message = '', rest = ''] = line.split('\t');
    if (scope !== 'access') return [];
    const fields: Record<string, string> = {};
    for (const [, name = '', text, bare] of rest.matchAll(/([\w.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))/g)) {
      fields[name] = text ?? bare ?? '';
    }
    return [{ level, message, fields }];
  });
}

/** Samples of an OpenMetrics text. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const [, name = '', labelText = '', value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    const labels: Record<string, string> = {};
    for (const [, key = '', label = ''] of labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[key] = label;
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}

/** Sum of a metric over the samples that have all of `labels`. */
export function sumOf(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  return samples
    .filter((sample) => sample.name === name)
    .filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

/** Returns the traffic of a reporter since `before`. */
export function trafficSince(
  before: readonly Sample[],
  now: readonly Sample[],
  labels: Readonly<Record<string, string>>,
): TrafficCounts {
  const since = (name: string): number => sumOf(now, name, labels) - sumOf(before, name, labels);
  return {
    opened: since(traffic.opened),
    closed: since(traffic.closed),
    received: since(traffic.received),
    sent: since(traffic.sent),
    failed: since(traffic.failed),
  };
}
