import { type KeyObject, verify } from 'node:crypto';
import { type DerElement, readDer, readOne, readTime } from './der-reader.ts';

/** A parsed revocation list (RFC 5280 section 5). */
export interface RevocationList {
  /** DER of the issuer's name, as hexadecimal. */
  readonly issuer: string;
  readonly authorityKeyIdentifier: string | undefined;
  /** Milliseconds since 1970; `undefined` when it does not say. */
  readonly nextUpdate: number | undefined;
  /** Serials as upper-case hexadecimal without leading zeros. */
  readonly revoked: ReadonlySet<string>;
  /** Whether this key signed it; `undefined` when the algorithm is not supported. */
  signedBy(key: KeyObject): boolean | undefined;
}

const hashes: Readonly<Record<string, string>> = {
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
};
const ed25519 = '2b6570';
const authorityKeyIdentifier = '551d23';

/** The form in which serials are compared: upper-case hexadecimal without leading zeros. */
export function normaliseSerial(hexadecimal: string): string {
  return hexadecimal.toUpperCase().replace(/^0+(?=.)/, '');
}

/** The `keyid` of an authority key identifier's DER value. */
export function readKeyIdentifier(value: Buffer): string | undefined {
  const identifier = readDer(readOne(value, 0x30).content).find((element) => element.tag === 0x80);
  return identifier?.content.toString('hex');
}

function findKeyIdentifier(extensions: DerElement | undefined): string | undefined {
  if (extensions === undefined) return undefined;
  for (const extension of readDer(readOne(extensions.content, 0x30).content)) {
    const [identifier, ...rest] = readDer(extension.content);
    if (identifier?.content.toString('hex') !== authorityKeyIdentifier) continue;
    const value = rest.at(-1);
    return value === undefined ? undefined : readKeyIdentifier(value.content);
  }
  return undefined;
}

function required(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element?.tag !== tag) throw new RangeError(`a revocation list without ${what}`);
  return element;
}

const isTime = (element: DerElement | undefined): boolean => element?.tag === 0x17 || element?.tag === 0x18;

/**
 * Reads one DER list.
 *
 * @throws RangeError when it is not one.
 */
function parseRevocationList(der: Buffer): RevocationList {
  const [body, algorithm, signature] = readDer(readOne(der, 0x30).content);
  const fields = readDer(required(body, 0x30, 'a body').content);
  // The version is optional: absent in lists of version 1.
  if (fields[0]?.tag === 0x02) fields.shift();
  const [, issuer, thisUpdate, ...rest] = fields;
  required(issuer, 0x30, 'an issuer');
  if (!isTime(thisUpdate)) throw new RangeError('a revocation list without a date');
  const [next] = rest;
  const nextUpdate = next !== undefined && isTime(next) ? readTime(next) : undefined;
  const revoked = new Set<string>();
  for (const entry of readDer(rest.find((element) => element.tag === 0x30)?.content ?? Buffer.alloc(0))) {
    const serial = required(readDer(entry.content)[0], 0x02, 'a serial number in an entry');
    revoked.add(normaliseSerial(serial.content.toString('hex')));
  }
  const signedBytes = required(body, 0x30, 'a body').raw;
  const signatureBytes = required(signature, 0x03, 'a signature').content.subarray(1);
  const identifier =
    readDer(required(algorithm, 0x30, 'an algorithm').content)[0]?.content.toString('hex') ?? '';
  return {
    issuer: issuer?.raw.toString('hex') ?? '',
    authorityKeyIdentifier: findKeyIdentifier(rest.find((element) => element.tag === 0xa0)),
    nextUpdate,
    revoked,
    signedBy: (key) => {
      if (identifier === ed25519) return verify(null, signedBytes, key, signatureBytes);
      const hash = hashes[identifier];
      return hash === undefined ? undefined : verify(hash, signedBytes, key, signatureBytes);
    },
  };
}

/**
 * Reads a file of lists: PEM with any number of them, DER with one, or nothing at all.
 *
 * @throws RangeError when it holds something else.
 */
export function parseRevocationLists(content: Buffer): RevocationList[] {
  const text = content.toString('latin1');
  if (text.trim() === '') return [];
  if (content[0] === 0x30) return [parseRevocationList(content)];
  const blocks = text.match(/-----BEGIN X509 CRL-----[A-Za-z0-9+/=\s]*-----END X509 CRL-----/g);
  if (blocks === null) throw new RangeError('neither PEM nor DER of a revocation list');
  return blocks.map((block) =>
    parseRevocationList(Buffer.from(block.replaceAll(/-----[^-]+-----/g, ''), 'base64')),
  );
}
