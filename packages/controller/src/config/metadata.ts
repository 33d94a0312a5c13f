import type { Environment } from './values.ts';

/** Any JSON value, as `ISTIO_METAJSON_*` variables hold it. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/**
 * Node metadata for xDS (ambient contract 3.2): mesh file, then `PROXY_CONFIG`, then `ISTIO_META_*`, later ones winning;
 * `ISTIO_METAJSON_*` values are JSON and one that does not parse is skipped and named in `skipped`.
 */
export function proxyMetadata(
  environment: Environment,
  configured: Readonly<Record<string, string>>,
): { metadata: Readonly<Record<string, JsonValue>>; skipped: readonly string[] } {
  const metadata: Record<string, JsonValue> = {};
  const skipped: string[] = [];
  const set = (name: string, value: JsonValue): void => {
    if (name !== '') metadata[name] = value;
  };
  for (const [name, value] of Object.entries(configured)) {
    set(name.startsWith('ISTIO_META_') ? name.slice('ISTIO_META_'.length) : name, value);
  }
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && name.startsWith('ISTIO_META_')) set(name.slice('ISTIO_META_'.length), value);
  }
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !name.startsWith('ISTIO_METAJSON_')) continue;
    try {
      set(name.slice('ISTIO_METAJSON_'.length), JSON.parse(value) as JsonValue);
    } catch {
      skipped.push(name);
    }
  }
  return { metadata, skipped };
}
