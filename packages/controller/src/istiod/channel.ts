import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import { ChannelCredentials, type ChannelOptions, Metadata } from '@grpc/grpc-js';
import { type ControlPlane, type ControlPlaneSettings, SettingError } from './control-plane.ts';

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

/** Whether a channel is closed, for its credentials. */
export interface ChannelEnd {
  closed: boolean;
}

/**
 * Creates the credentials of one channel. Root files are read at each call, so a replaced root applies to the next
 * connection (conformance XDS-20).
 *
 * Once the channel is closed they trust no server: the library connects once more, up to a second later, if a channel
 * is closed while it waits to try again, and would keep that connection.
 *
 * @throws SettingError with the setting of the roots.
 */
export async function channelCredentials(
  plane: ControlPlane,
  settings: ControlPlaneSettings,
  end: ChannelEnd,
): Promise<ChannelCredentials> {
  const { host, secure } = hostAndPort(plane.address);
  if (!secure) return ChannelCredentials.createInsecure();
  const secureContext = tls.createSecureContext({
    ca: await readRoots(plane.rootCa, settings.rootCa),
    minVersion: plane.tls12Enabled ? 'TLSv1.2' : 'TLSv1.3',
    ...(plane.postQuantumOnly ? { ecdhCurve: 'X25519MLKEM768' } : {}),
  });
  const names = [host, plane.alternativeHostname].filter((name) => name !== undefined && name !== '');
  return ChannelCredentials.createFromSecureContext(secureContext, {
    checkServerIdentity: (_name, certificate) => {
      if (end.closed) return new Error('the channel is closed');
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
