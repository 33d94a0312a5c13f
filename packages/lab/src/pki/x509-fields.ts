import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { isIPv4 } from 'node:net';
import {
  bits,
  boolean,
  type DerElement,
  element,
  fromPem,
  implicit,
  integer,
  objectIdentifier,
  octetString,
  readElements,
  readObjectIdentifier,
  sequence,
} from './der.ts';

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

/** CA or not; critical, as RFC 5280 requires of authorities. */
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

/** SHA-1 over the key's encoding: only an identifier, without relevance for security. */
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

/** An extension that every verifier rejects as unknown if it is critical. */
export function unknownExtension(critical: boolean): Buffer {
  return extension('1.3.6.1.4.1.99999.1', critical, element(0x05));
}

interface RequestedExtension {
  readonly identifier: string;
  readonly critical: boolean;
  readonly value: Buffer;
}

interface CertificateRequest {
  readonly publicKey: KeyObject;
  readonly emptySubject: boolean;
  readonly signatureAlgorithm: string;
  readonly signatureValid: boolean;
  readonly extensions: readonly RequestedExtension[];
  /** URIs of the subject alternative name. */
  readonly uris: readonly string[];
  /** Other names of the subject alternative name (DNS, IP, …), counted. */
  readonly otherNames: number;
}

function requireElement(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element === undefined || element.tag !== tag)
    throw new RangeError(`certificate request without ${what}`);
  return element;
}

function readExtensions(attributes: Buffer): RequestedExtension[] {
  for (const attribute of readElements(attributes)) {
    const [identifier, values] = readElements(attribute.content);
    if (identifier === undefined || values === undefined) throw new RangeError('attribute without value');
    if (readObjectIdentifier(identifier.content) !== '1.2.840.113549.1.9.14') continue;
    const list = requireElement(readElements(values.content)[0], 0x30, 'extension list');
    return readElements(list.content).map((item) => {
      const parts = readElements(item.content);
      const name = requireElement(parts[0], 0x06, 'extension identifier');
      const value = requireElement(parts.at(-1), 0x04, 'extension value');
      const critical = parts.length === 3 && parts[1]?.content[0] === 0xff;
      return { identifier: readObjectIdentifier(name.content), critical, value: value.content };
    });
  }
  return [];
}

/**
 * Reads a PKCS #10 request (RFC 2986) and checks its own signature. Throws a RangeError on anything that is not one.
 */
export function parseCertificateRequest(pem: string): CertificateRequest {
  const outer = requireElement(readElements(fromPem('CERTIFICATE REQUEST', pem))[0], 0x30, 'outer sequence');
  const [info, algorithm, signature] = readElements(outer.content);
  const body = requireElement(info, 0x30, 'body');
  const signatureBits = requireElement(signature, 0x03, 'signature');
  const [version, subject, key, attributes] = readElements(body.content);
  requireElement(version, 0x02, 'version');
  const name = requireElement(subject, 0x30, 'subject');
  const publicKey = createPublicKey({
    key: requireElement(key, 0x30, 'public key').raw,
    format: 'der',
    type: 'spki',
  });
  const identifier = readElements(requireElement(algorithm, 0x30, 'signature algorithm').content)[0];
  const extensions = attributes === undefined ? [] : readExtensions(attributes.content);
  const names = extensions
    .filter((extension) => extension.identifier === '2.5.29.17')
    .flatMap((extension) => readElements(extension.value))
    .flatMap((list) => readElements(list.content));
  const uris = names.filter((entry) => entry.tag === 0x86).map((entry) => entry.content.toString('utf8'));
  return {
    publicKey,
    emptySubject: name.content.length === 0,
    signatureAlgorithm: readObjectIdentifier(requireElement(identifier, 0x06, 'signature algorithm').content),
    signatureValid: verify('sha256', body.raw, publicKey, signatureBits.content.subarray(1)),
    extensions,
    uris,
    otherNames: names.length - uris.length,
  };
}
