import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import {
  bitString,
  explicit,
  integer,
  objectIdentifier,
  sequence,
  set,
  time,
  toPem,
  utf8String,
} from './der.ts';
import {
  type AlternativeNames,
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  hasAlternativeNames,
  keyUsage,
  revocationListNumber,
  subjectAlternativeName,
  subjectKeyIdentifier,
  unknownExtension,
} from './x509-fields.ts';

const ecdsaWithSha256 = sequence(objectIdentifier('1.2.840.10045.4.3.2'));
const hour = 3_600_000;

interface Validity {
  /** Default: one minute ago. */
  readonly notBefore?: Date;
  /** Default: in 24 hours; for authorities in ten years. */
  readonly notAfter?: Date;
}

interface AuthorityOptions extends Validity {
  /** Default `Kmesh lab`. */
  readonly commonName?: string;
}

export interface LeafOptions extends AlternativeNames, Validity {
  /** Public key to certify; by default a new P-256 key. */
  readonly publicKey?: KeyObject;
  /** Default: none, an empty subject. */
  readonly commonName?: string;
  /** Default: both. */
  readonly usages?: readonly ('server' | 'client')[];
  /** Default: 128 random bits. */
  readonly serial?: bigint;
  /** Adds an unknown critical extension. */
  readonly unknownCriticalExtension?: boolean;
}

interface IssuedCertificate {
  readonly certificatePem: string;
  readonly certificateDer: Buffer;
  /** Leaf, then the intermediates up to but without the root. */
  readonly chainPem: string;
  /** Absent when the caller supplied the public key. */
  readonly privateKeyPem: string | undefined;
  readonly serial: bigint;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** An issued certificate with its private key. */
interface IssuedIdentity extends IssuedCertificate {
  readonly privateKeyPem: string;
}

interface RevocationList {
  readonly pem: string;
  readonly der: Buffer;
}

interface RevocationListOptions {
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  readonly number?: number;
}

export interface Authority {
  readonly certificatePem: string;
  readonly certificateDer: Buffer;
  readonly serial: bigint;
  readonly privateKey: KeyObject;
  /** The self-signed certificate at the top. */
  readonly rootPem: string;
  /** This authority's certificate and those above it, without the root: empty for a root. */
  readonly intermediatesPem: readonly string[];
  /** An authority that this one has signed. */
  intermediate(options?: AuthorityOptions): Authority;
  issue(options: LeafOptions & { readonly publicKey: KeyObject }): IssuedCertificate;
  issue(options: LeafOptions): IssuedIdentity;
  /** A list, signed by this authority, that revokes `serials`. */
  revocationList(serials: readonly bigint[], options?: RevocationListOptions): RevocationList;
}

function distinguishedName(commonName: string | undefined): Buffer {
  if (commonName === undefined) return sequence();
  return sequence(set(sequence(objectIdentifier('2.5.4.3'), utf8String(commonName))));
}

/** A positive serial of at most 16 bytes. */
function randomSerial(): bigint {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return BigInt(`0x${bytes.toString('hex')}`);
}

function signed(body: Buffer, privateKey: KeyObject): Buffer {
  return sequence(body, ecdsaWithSha256, bitString(sign('sha256', body, privateKey)));
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}

interface CertificateParts {
  readonly serial: bigint;
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly publicKey: KeyObject;
  readonly extensions: readonly Buffer[];
}

function certificateDer(parts: CertificateParts, issuerKey: KeyObject): Buffer {
  const body = sequence(
    explicit(0, integer(2)),
    integer(parts.serial),
    ecdsaWithSha256,
    parts.issuer,
    sequence(time(parts.notBefore), time(parts.notAfter)),
    parts.subject,
    parts.publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...parts.extensions)),
  );
  return signed(body, issuerKey);
}

interface Issuer {
  readonly name: Buffer;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly rootPem: string;
  readonly intermediatesPem: readonly string[];
}

function authorityUnder(parent: Issuer | undefined, options: AuthorityOptions): Authority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const name = distinguishedName(options.commonName ?? 'Kmesh lab');
  const serial = randomSerial();
  const der = certificateDer(
    {
      serial,
      issuer: parent?.name ?? name,
      subject: name,
      notBefore: wholeSeconds(options.notBefore ?? new Date(Date.now() - hour)),
      notAfter: wholeSeconds(options.notAfter ?? new Date(Date.now() + 87_600 * hour)),
      publicKey: keys.publicKey,
      extensions: [
        basicConstraints(true),
        keyUsage(true),
        subjectKeyIdentifier(keys.publicKey),
        authorityKeyIdentifier(parent?.publicKey ?? keys.publicKey),
      ],
    },
    parent?.privateKey ?? keys.privateKey,
  );
  const pem = toPem('CERTIFICATE', der);
  const issuer: Issuer = {
    name,
    publicKey: keys.publicKey,
    privateKey: keys.privateKey,
    rootPem: parent?.rootPem ?? pem,
    intermediatesPem: parent === undefined ? [] : [pem, ...parent.intermediatesPem],
  };
  return {
    certificatePem: pem,
    certificateDer: der,
    serial,
    privateKey: keys.privateKey,
    rootPem: issuer.rootPem,
    intermediatesPem: issuer.intermediatesPem,
    intermediate: (below = {}) => authorityUnder(issuer, { commonName: 'Kmesh lab intermediate', ...below }),
    issue: (leaf: LeafOptions) => issueLeaf(issuer, leaf) as IssuedIdentity,
    revocationList: (serials, list = {}) => signRevocationList(issuer, serials, list),
  };
}

function issueLeaf(issuer: Issuer, options: LeafOptions): IssuedCertificate {
  const made =
    options.publicKey === undefined ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' }) : undefined;
  const publicKey = options.publicKey ?? made?.publicKey;
  if (publicKey === undefined) throw new TypeError('a leaf needs a public key');
  const serial = options.serial ?? randomSerial();
  const notBefore = wholeSeconds(options.notBefore ?? new Date(Date.now() - 60_000));
  const notAfter = wholeSeconds(options.notAfter ?? new Date(Date.now() + 24 * hour));
  const extensions = [
    basicConstraints(false),
    keyUsage(false),
    extendedKeyUsage(options.usages ?? ['server', 'client']),
    subjectKeyIdentifier(publicKey),
    authorityKeyIdentifier(issuer.publicKey),
  ];
  // RFC 5280 4.2.1.6: the names are critical when the subject is empty.
  if (hasAlternativeNames(options))
    extensions.push(subjectAlternativeName(options, options.commonName === undefined));
  if (options.unknownCriticalExtension === true) extensions.push(unknownExtension(true));
  const subject = distinguishedName(options.commonName);
  const der = certificateDer(
    { serial, issuer: issuer.name, subject, notBefore, notAfter, publicKey, extensions },
    issuer.privateKey,
  );
  const certificatePem = toPem('CERTIFICATE', der);
  return {
    certificatePem,
    certificateDer: der,
    chainPem: [certificatePem, ...issuer.intermediatesPem].join(''),
    privateKeyPem: made?.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    serial,
    notBefore,
    notAfter,
  };
}

function signRevocationList(
  issuer: Issuer,
  serials: readonly bigint[],
  options: RevocationListOptions,
): RevocationList {
  const thisUpdate = options.thisUpdate ?? new Date(Date.now() - 60_000);
  const entries = serials.map((serial) => sequence(integer(serial), time(thisUpdate)));
  const body = sequence(
    integer(1),
    ecdsaWithSha256,
    issuer.name,
    time(thisUpdate),
    time(options.nextUpdate ?? new Date(Date.now() + 24 * hour)),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    explicit(
      0,
      sequence(authorityKeyIdentifier(issuer.publicKey), revocationListNumber(options.number ?? 1)),
    ),
  );
  const der = signed(body, issuer.privateKey);
  return { pem: toPem('X509 CRL', der), der };
}

/**
 * Creates a self-signed P-256 authority for the lab. It and its intermediates sign with ECDSA and SHA-256.
 */
export function createAuthority(options: AuthorityOptions = {}): Authority {
  return authorityUnder(undefined, options);
}
