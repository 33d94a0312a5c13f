import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Build information, with the keys that tools expect of a node proxy (ambient contract 13.2). */
export interface VersionInfo {
  readonly version: string;
  readonly gitRevision: string;
  /** The key is ztunnel's; Kmesh reports its Node.js version. */
  readonly rustVersion: string;
  readonly buildProfile: string;
  readonly buildStatus: string;
  readonly istioVersion: string;
  readonly cryptoProvider: string;
}

declare const KMESH_GIT_REVISION: string | undefined;
declare const KMESH_VERSION: string | undefined;

/** Returns the version of this build. The bundle contains its revision; a checkout gets it from git. */
export function versionInfo(istioVersion: string): VersionInfo {
  const bundled = typeof KMESH_GIT_REVISION === 'string';
  return {
    version: typeof KMESH_VERSION === 'string' ? KMESH_VERSION : manifestVersion(),
    gitRevision: bundled ? KMESH_GIT_REVISION : gitRevision(),
    rustVersion: `none (Node.js ${process.versions.node})`,
    buildProfile: bundled ? 'release' : 'source',
    buildStatus: 'Modified',
    istioVersion,
    cryptoProvider: `OpenSSL ${process.versions.openssl}`,
  };
}

/** Returns the output line of `kmesh version` (ambient contract 2.1). */
export function versionLine(info: VersionInfo): string {
  const field = (name: string, value: string): string => `${name}:${JSON.stringify(value)}`;
  return `version.BuildInfo{${[
    field('Version', info.version),
    field('GitRevision', info.gitRevision),
    field('RustVersion', info.rustVersion),
    field('BuildProfile', info.buildProfile),
    field('BuildStatus', info.buildStatus),
    field('IstioVersion', info.istioVersion),
    field('CryptoProvider', info.cryptoProvider),
  ].join(', ')}}`;
}

function manifestVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

function gitRevision(): string {
  try {
    const directory = new URL('../../runtime/s', import.meta.url).pathname;
    return execFileSync('git', ['-C', directory, 'rev-parse', '--short', 'HEAD'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim();
  } catch {
    return 'unknown';
  }
}
