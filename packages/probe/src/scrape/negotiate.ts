export type ContentEncoding = 'identity' | 'gzip' | 'zstd' | 'br' | 'deflate';

const plainContentType = 'text/plain; charset=utf-8';
const openMetricsContentType = 'application/openmetrics-text;charset=utf-8;version=1.0.0';

/** OpenMetrics when any entry of `Accept` asks for it, else plain text (ambient contract 15.1). The body is the same. */
export function contentType(accept: string | undefined): string {
  const asked = (accept ?? '')
    .split(',')
    .some((entry) => entry.split(';')[0]?.trim().toLowerCase() === 'application/openmetrics-text');
  return asked ? openMetricsContentType : plainContentType;
}

/** Ours in order of preference where the client has none. */
const preferred: readonly ContentEncoding[] = ['zstd', 'gzip', 'br', 'deflate'];

/** The encoding that the client likes best of those that we have; `identity` when it names none of them. */
export function contentEncoding(acceptEncoding: string | undefined): ContentEncoding {
  const weights = new Map<string, number>();
  for (const entry of (acceptEncoding ?? '').toLowerCase().split(',')) {
    const [name, ...parameters] = entry.split(';').map((part) => part.trim());
    const quality = parameters.find((parameter) => parameter.startsWith('q='));
    const weight = quality === undefined ? 1 : Number(quality.slice(2));
    if (name) weights.set(name, Number.isFinite(weight) ? weight : 0);
  }
  let best: ContentEncoding = 'identity';
  let bestWeight = 0;
  for (const encoding of preferred) {
    const weight = weights.get(encoding) ?? (weights.get('*') ?? 0) / 2;
    if (weight > bestWeight) {
      best = encoding;
      bestWeight = weight;
    }
  }
  return best;
}
