import { createHash, type KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { bits, boolean, element, implicit, integer, objectIdentifier, octetString, sequence } from './der.ts';

/** The 4 or 16 bytes of an address in text form. */
export function ipBytes(ip: string): Buffer {
  if (isIPv4(ip)) return Buffer.from(ip.split('.').map(Number));
  const [head = '', tail] = ip.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  const bytes = Buffer.alloc(16);
  for (const [index, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  return bytes;
}

function extension(identifier: string, critical: boolean, value: Uint8Array): Buffer {
  const parts = [objectIdentifier(identifier)];
  if (critical) parts.push(boolean(true));
  return sequence(...parts, octetString(value));
}

/** Names under which a certificate may be addressed. */
export interface AlternativeNames {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  /** IPv4 or full IPv6 text. */
  readonly ips?: readonly string[];
}

export function hasAlternativeNames(names: AlternativeNames): boolean {
  return (names.uris?.length ?? 0) + (names.dnsNames?.length ?? 0) + (names.ips?.length ?? 0) > 0;
}

export function subjectAlternativeName(names: AlternativeNames, critical: boolean): Buffer {
  const general = [
    ...(names.dnsNames ?? []).map((name) => implicit(2, Buffer.from(name, 'latin1'))),
    ...(names.uris ?? []).map((uri) => implicit(6, Buffer.from(uri, 'utf8'))),
    ...(names.ips ?? []).map((ip) => implicit(7, ipBytes(ip))),
  ];
  return extension('2.5.29.17', critical, sequence(...general));
}

/** CA or not; critical, as RFC 5280 asks of authorities. */
export function basicConstraints(authority: boolean): Buffer {
  return extension('2.5.29.19', true, authority ? sequence(boolean(true)) : sequence());
}

/** Authorities sign certificates and lists (bits 5 and 6); leaves sign and agree on keys (bits 0 and 2). */
export function keyUsage(authority: boolean): Buffer {
  return extension('2.5.29.15', true, authority ? bits(5, 6) : bits(0, 2));
}

export function extendedKeyUsage(usages: readonly ('server' | 'client')[]): Buffer {
  const identifiers = usages.map((usage) =>
    objectIdentifier(usage === 'server' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2'),
  );
  return extension('2.5.29.37', false, sequence(...identifiers));
}

/** SHA-1 over the key's encoding: an identifier, nothing that security rests on. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  return createHash('sha1')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
}

export function subjectKeyIdentifier(publicKey: KeyObject): Buffer {
  return extension('2.5.29.14', false, octetString(keyIdentifier(publicKey)));
}

export function authorityKeyIdentifier(publicKey: KeyObject): Buffer {
  return extension('2.5.29.35', false, sequence(implicit(0, keyIdentifier(publicKey))));
}

export function revocationListNumber(number: number): Buffer {
  return extension('2.5.29.20', false, integer(number));
}

/** An extension that no verifier knows, for tests of critical unknown ones. */
export function unknownExtension(critical: boolean): Buffer {
  return extension('1.3.6.1.4.1.99999.1', critical, element(0x05));
}
