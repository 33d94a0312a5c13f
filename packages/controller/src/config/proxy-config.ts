import { readFileSync } from 'node:fs';
import { KmeshError } from '@kmesh/api';
import { parse } from 'yaml';
import type { Environment } from './values.ts';

/** The part of MeshConfig's `defaultConfig` that the node proxy reads (ambient contract 2.3). */
interface ProxyConfig {
  readonly discoveryAddress?: string;
  readonly proxyAdminPort?: number;
  readonly statsPort?: number;
  readonly concurrency?: number;
  readonly proxyMetadata: Readonly<Record<string, string>>;
}

/**
 * Reads the mesh file and `PROXY_CONFIG`, which overrides it key by key. The mesh file may be missing.
 *
 * @throws KMESH_CONFIG_INVALID naming the source and the key.
 */
export function readProxyConfig(environment: Environment, meshFile: string): ProxyConfig {
  const fromFile = proxyConfigOf(meshFile, defaultConfigOf(meshFile, readIfThere(meshFile)));
  const text = environment['PROXY_CONFIG'];
  if (text === undefined || text === '') return fromFile;
  const fromVariable = proxyConfigOf(
    'PROXY_CONFIG',
    asRecord('PROXY_CONFIG', 'the document', parseYaml('PROXY_CONFIG', text)),
  );
  return {
    ...fromFile,
    ...fromVariable,
    proxyMetadata: { ...fromFile.proxyMetadata, ...fromVariable.proxyMetadata },
  };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    throw new KmeshError('KMESH_CONFIG_INVALID', `the mesh file ${path} cannot be read: ${String(error)}`, {
      cause: error,
    });
  }
}

function defaultConfigOf(source: string, text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  const document = asRecord(source, 'the document', parseYaml(source, text));
  return asRecord(source, 'defaultConfig', document['defaultConfig'] ?? {});
}

function parseYaml(source: string, text: string): unknown {
  try {
    return parse(text) ?? {};
  } catch (error) {
    throw new KmeshError('KMESH_CONFIG_INVALID', `${source} is not valid YAML: ${String(error)}`, {
      cause: error,
    });
  }
}

function asRecord(source: string, what: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new KmeshError('KMESH_CONFIG_INVALID', `${source}: ${what} must be a map of keys to values`);
  }
  return value as Record<string, unknown>;
}

function proxyConfigOf(source: string, record: Record<string, unknown>): ProxyConfig {
  const discoveryAddress = record['discoveryAddress'];
  if (discoveryAddress !== undefined && typeof discoveryAddress !== 'string') {
    throw new KmeshError(
      'KMESH_CONFIG_INVALID',
      `${source}: discoveryAddress must be text such as istiod.istio-system.svc:15012`,
    );
  }
  const metadata = asRecord(source, 'proxyMetadata', record['proxyMetadata'] ?? {});
  const port = (key: string): number | undefined => wholeNumber(source, key, record[key], 65535);
  const proxyAdminPort = port('proxyAdminPort');
  const statsPort = port('statsPort');
  const concurrency = wholeNumber(source, 'concurrency', record['concurrency'], 4096);
  return {
    ...(discoveryAddress === undefined ? {} : { discoveryAddress }),
    ...(proxyAdminPort === undefined ? {} : { proxyAdminPort }),
    ...(statsPort === undefined ? {} : { statsPort }),
    ...(concurrency === undefined ? {} : { concurrency }),
    proxyMetadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
  };
}

function wholeNumber(source: string, key: string, value: unknown, maximum: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maximum) {
    throw new KmeshError(
      'KMESH_CONFIG_INVALID',
      `${source}: ${key} is ${JSON.stringify(value)}; a whole number from 0 to ${maximum} is allowed`,
    );
  }
  return value;
}
