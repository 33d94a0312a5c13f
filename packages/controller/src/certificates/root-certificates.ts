import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { KmeshError } from '@kmesh/api';
import { parseCertificates } from './certificate-response.ts';
import { type DirectoryWatchOptions, watchDirectoryOf } from './directory-watch.ts';

export type RootCertificates =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'inline'; readonly pem: string }
  | { readonly kind: 'system' };

/** What `CA_ROOT_CA` says: the word SYSTEM, PEM, or else a path. Ambient contract 2.2. */
export function rootCertificatesSetting(value: string): RootCertificates {
  if (value === 'SYSTEM') return { kind: 'system' };
  return value.includes('-----BEGIN') ? { kind: 'inline', pem: value } : { kind: 'file', path: value };
}

/**
 * Reads and checks the roots.
 *
 * @throws KMESH_CA_ROOT_UNREADABLE naming the file and the cause.
 */
export function readRootCertificates(roots: RootCertificates): string[] {
  if (roots.kind === 'system') return getCACertificates('system');
  const where = roots.kind === 'file' ? roots.path : 'the inline PEM';
  let certificates: string[];
  try {
    const pem = roots.kind === 'file' ? readFileSync(roots.path, 'utf8') : roots.pem;
    certificates = parseCertificates(pem).map(String);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KmeshError('KMESH_CA_ROOT_UNREADABLE', `CA_ROOT_CA: cannot use ${where}: ${reason}`, { cause });
  }
  if (certificates.length === 0) {
    throw new KmeshError('KMESH_CA_ROOT_UNREADABLE', `CA_ROOT_CA: ${where} holds no PEM certificate`);
  }
  return certificates;
}

/** Calls `onChange` when a root file may have changed; other kinds never do. Returns the way to stop. */
export function watchRootCertificates(
  roots: RootCertificates,
  onChange: () => void,
  options: DirectoryWatchOptions = {},
): () => void {
  return roots.kind === 'file' ? watchDirectoryOf(roots.path, onChange, options) : () => undefined;
}
