import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import type { ChannelCredentials, ChannelOptions, Metadata } from '@grpc/grpc-js';
import { KmeshError } from '@kmesh/api';

/** Address, trust anchors and credentials of the control plane (docs/contract.md 3.1). */
export interface ControlPlane {
  /** URI: `https://host:port`, or `http://host:port` for the plaintext port. */
  readonly address: string;
  /** Path of a PEM file, the word `SYSTEM`, or PEM text. */
  readonly rootCa: string;
  /** A second accepted server name. */
  readonly alternativeHostname?: string | undefined;
  /** Path of a token file, or the token itself; `undefined`: the mounted service-account token, if present. */
  readonly token?: string | undefined;
  readonly clusterId: string;
  /** Further request headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls12Enabled?: boolean;
  readonly postQuantumOnly?: boolean;
}

/** Names of the settings behind a {@link ControlPlane}, for messages. */
export interface ControlPlaneSettings {
  readonly address: string;
  readonly rootCa: string;
  readonly alternativeHostname: string;
  readonly token: string;
  readonly headers: string;
}

/** A setting with an unusable value. Code `KMESH_SETTING_UNUSABLE`. */
export class SettingError extends KmeshError {
  readonly setting: string;

  constructor(setting: string, cause: string) {
    super('KMESH_SETTING_UNUSABLE', `${setting}: ${cause}`);
    this.setting = setting;
  }
}

const defaultTokenPath = './var/run/secrets/tokens/istio-token';

/** Parses a control plane URI. The port defaults to the scheme's. */
function hostAndPort(address: string): { host: string; port: number; secure: boolean } {
  const url = new URL(address);
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, port: url.port === '' ? (secure ? 443 : 80) : Number(url.port), secure };
}

/** Formats the gRPC target of a control plane URI; an IP address needs no name resolution. */
export function grpcTarget(address: string): string {
  const { host, port } = hostAndPort(address);
  const family = isIP(host);
  if (family === 4) return `ipv4:${host}:${port}`;
  return family === 6 ? `ipv6:[${host}]:${port}` : `dns:${host}:${port}`;
}

/**
 * Creates channel credentials. Root files are read at each call, so a replaced root applies to the next connection
 * (conformance XDS-20).
 *
 * @throws SettingError with the setting of the roots.
 */
export async function channelCredentials(
  plane: ControlPlane,
  settings: ControlPlaneSettings,
): Promise<ChannelCredentials> {
  const { host, secure } = hostAndPort(plane.address);
  const { ChannelCredentials } = await import('@grpc/grpc-js');
  if (!secure) return ChannelCredentials.createInsecure();
  const secureContext = tls.createSecureContext({
    ca: await readRoots(plane.rootCa, settings.rootCa),
    minVersion: plane.tls12Enabled ? 'TLSv1.2' : 'TLSv1.3',
    ...(plane.postQuantumOnly ? { ecdhCurve: 'X25519MLKEM768' } : {}),
  });
  const names = [host, plane.alternativeHostname].filter((name) => name !== undefined && name !== '');
  return ChannelCredentials.createFromSecureContext(secureContext, {
    checkServerIdentity: (_name, certificate) => {
      const problems = names.map((name) => tls.checkServerIdentity(name ?? '', certificate));
      return problems.some((problem) => problem === undefined) ? undefined : problems[0];
    },
  });
}

/** Returns the channel options for {@link channelCredentials}. */
export function tlsChannelOptions(plane: ControlPlane): ChannelOptions {
  // TLS has no server name for an IP address; the identity check above compares the address itself.
  return isIP(hostAndPort(plane.address).host) === 0
    ? {}
    : { 'grpc.ssl_target_name_override': plane.alternativeHostname ?? 'istiod.istio-system.svc' };
}

/**
 * Builds the headers of one request. A token file is read at each call (conformance XDS-04).
 *
 * @throws SettingError with the setting of the token or of the header.
 */
export async function requestMetadata(
  plane: ControlPlane,
  settings: ControlPlaneSettings,
): Promise<Metadata> {
  const { Metadata } = await import('@grpc/grpc-js');
  const metadata = new Metadata();
  const token = await readToken(plane.token, settings.token);
  if (token !== undefined) setHeader(metadata, settings.token, ['authorization', `Bearer ${token}`]);
  setHeader(metadata, 'CLUSTER_ID', ['clusterid', plane.clusterId]);
  for (const header of Object.entries(plane.headers)) {
    setHeader(metadata, `${settings.headers}${header[0]}`, header);
  }
  return metadata;
}

function setHeader(metadata: Metadata, setting: string, [name, value]: readonly [string, string]): void {
  try {
    metadata.set(name, value);
  } catch {
    // The value may be a secret: the message omits it.
    throw new SettingError(setting, 'not usable as a request header');
  }
}

async function readRoots(rootCa: string, setting: string): Promise<string | string[]> {
  if (rootCa === 'SYSTEM') return tls.getCACertificates('system');
  const inline = rootCa.includes('-----BEGIN');
  const pem = inline ? rootCa : await readSettingFile(rootCa, setting);
  try {
    new X509Certificate(pem);
  } catch {
    throw new SettingError(setting, `${inline ? 'the inline text' : rootCa} contains no PEM certificate`);
  }
  return pem;
}

async function readToken(token: string | undefined, setting: string): Promise<string | undefined> {
  const path = token ?? defaultTokenPath;
  const exists = path.length < 4096 && existsSync(path);
  if (!exists && token === undefined) return undefined;
  if (!exists && !looksLikePath(path)) return token;
  const text = (await readSettingFile(path, setting)).trim();
  if (text === '') throw new SettingError(setting, `${path} is empty`);
  return text;
}

/** A missing file's path must not be sent as the token. */
function looksLikePath(text: string): boolean {
  return text.startsWith('/') || text.startsWith('./') || text.startsWith('../');
}

async function readSettingFile(path: string, setting: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SettingError(
      setting,
      `cannot read the file: ${error instanceof Error ? error.message : error}`,
    );
  }
}

/** Status codes of gRPC. Importing them from the library would load all of it into each thread that uses one. */
export const grpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a code, or its number where it has none. */
export function statusName(code: number): string {
  return Object.entries(grpcStatus).find(([, value]) => value === code)?.[0] ?? `${code}`;
}
