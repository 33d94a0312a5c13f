import { type KeyObject, verify, type X509Certificate } from 'node:crypto';

/** A parsed revocation list (RFC 5280 section 5). */
export interface RevocationList {
  /** DER of the issuer's name, as hexadecimal. */
  readonly issuer: string;
  readonly authorityKeyIdentifier: string | undefined;
  /** Milliseconds since 1970; `undefined` when the list has none. */
  readonly nextUpdate: number | undefined;
  /** Serials as upper-case hexadecimal without leading zeros. */
  readonly revoked: ReadonlySet<string>;
  /** Returns whether this key signed the list; `undefined` when the algorithm is not supported. */
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

/** Returns a serial in the form in which serials are compared: upper-case hexadecimal without leading zeros. */
function normaliseSerial(hexadecimal: string): string {
  return hexadecimal.toUpperCase().replace(/^0+(?=.)/, '');
}

/** Returns the `keyid` of an authority key identifier's DER value. */
function readKeyIdentifier(value: Buffer): string | undefined {
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
 * Parses one DER list.
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
 * Parses a file of lists: PEM with any number of them, DER with one, or an empty file.
 *
 * @throws RangeError for any other content.
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

/** A revoked certificate of a chain. */
export interface Revocation {
  /** Upper-case hexadecimal. */
  readonly serial: string;
  /** The issuer's name, readable. */
  readonly issuer: string;
  /** 0 is the leaf. */
  readonly depth: number;
}

interface CertificateNames {
  readonly issuer: string;
  readonly authorityKeyIdentifier: string | undefined;
}

function namesOf(certificate: X509Certificate): CertificateNames {
  const body = readDer(readOne(certificate.raw, 0x30).content)[0];
  const fields = readDer(body?.content ?? Buffer.alloc(0));
  // [0] version, serial, algorithm, issuer; the version is absent in version 1.
  const issuer = fields[fields[0]?.tag === 0xa0 ? 3 : 2];
  const extensions = fields.find((field) => field.tag === 0xa3);
  let identifier: string | undefined;
  for (const extension of extensions === undefined
    ? []
    : readDer(readOne(extensions.content, 0x30).content)) {
    const [name, ...rest] = readDer(extension.content);
    const value = rest.at(-1);
    if (name?.content.toString('hex') === '551d23' && value !== undefined)
      identifier = readKeyIdentifier(value.content);
  }
  return { issuer: issuer?.raw.toString('hex') ?? '', authorityKeyIdentifier: identifier };
}

/**
 * Returns whether `list` comes from the authority that issued `certificate`. Authorities may share a name, so the key
 * decides: the signature if the issuer's certificate is known, else the key identifiers. If neither is available, the
 * name decides: better to refuse one connection too many.
 */
function speaksForIssuer(
  list: RevocationList,
  certificate: CertificateNames,
  issuer: X509Certificate | undefined,
): boolean {
  if (list.issuer !== certificate.issuer) return false;
  const signed = issuer === undefined ? undefined : list.signedBy(issuer.publicKey);
  if (signed !== undefined) return signed;
  const { authorityKeyIdentifier } = certificate;
  if (authorityKeyIdentifier === undefined || list.authorityKeyIdentifier === undefined) return true;
  return authorityKeyIdentifier === list.authorityKeyIdentifier;
}

/**
 * Finds a revoked certificate in a chain, at full depth. A certificate without a list of its issuer counts as not
 * revoked; an expired list still applies. Ambient contract 5.
 *
 * @param chain leaf first.
 * @param roots further certificates that may include issuers, such as the trust bundle.
 */
export function findRevocation(
  lists: readonly RevocationList[],
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): Revocation | undefined {
  if (lists.length === 0) return undefined;
  for (const [depth, certificate] of chain.entries()) {
    const serial = normaliseSerial(certificate.serialNumber);
    const candidates = lists.filter((list) => list.revoked.has(serial));
    if (candidates.length === 0) continue;
    const names = namesOf(certificate);
    const issuer = [...chain.slice(depth + 1), ...roots].find(
      (other) => certificate.checkIssued(other) && certificate.verify(other.publicKey),
    );
    if (candidates.some((list) => speaksForIssuer(list, names, issuer))) {
      return { serial, issuer: certificate.issuer, depth };
    }
  }
  return undefined;
}

/** One DER element; `raw` includes tag and length. */
interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  readonly raw: Buffer;
}

/**
 * Returns the consecutive elements in `bytes`, as views of it.
 *
 * @throws RangeError when they do not fill it exactly, or a length is indefinite.
 */
function readDer(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const tag = bytes.readUInt8(offset);
    const short = bytes.readUInt8(offset + 1);
    const digits = short < 0x80 ? 0 : short & 0x7f;
    if (short === 0x80 || digits > 4) throw new RangeError('a DER length is indefinite or too large');
    const length = digits === 0 ? short : bytes.readUIntBE(offset + 2, digits);
    const start = offset + 2 + digits;
    const end = start + length;
    if (end > bytes.length) throw new RangeError('a DER element is longer than what contains it');
    elements.push({ tag, content: bytes.subarray(start, end), raw: bytes.subarray(offset, end) });
    offset = end;
  }
  return elements;
}

/** Returns the single element of `bytes`, which must have this tag. */
function readOne(bytes: Buffer, tag: number): DerElement {
  const [element, ...rest] = readDer(bytes);
  if (element === undefined || rest.length > 0 || element.tag !== tag) {
    throw new RangeError(`expected one DER element with tag ${tag}`);
  }
  return element;
}

/** Returns a UTCTime (0x17) or GeneralizedTime (0x18) as milliseconds since 1970. */
function readTime(element: DerElement): number {
  const text = element.content.toString('latin1');
  const digits = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (digits === null) throw new RangeError('a DER time is malformed');
  const [, written = '', month = '', day = '', hours = '', minutes = '', seconds = ''] = digits;
  const century = written.length === 4 ? '' : Number(written) < 50 ? '20' : '19';
  return Date.parse(`${century}${written}-${month}-${day}T${hours}:${minutes}:${seconds}Z`);
}
