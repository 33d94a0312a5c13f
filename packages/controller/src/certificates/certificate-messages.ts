import { createPrivateKey, generateKeyPair, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import { KmeshError } from '@kmesh/api';
import { parseIdentity } from '@kmesh/orchestration';

/** A certificate request and its key. The key exists nowhere else. */
interface CertificateRequest {
  readonly pem: string;
  readonly privateKey: KeyObject;
}

const subjectAlternativeName = '0603551d11';
const extensionRequest = '06092a864886f70d01090e';
const ecdsaWithSha256 = '300a06082a8648ce3d040302';
const critical = '0101ff';

/** Tag, length and content, as hexadecimal. */
function encode(tag: string, ...contents: readonly string[]): string {
  const content = contents.join('');
  const length = content.length / 2;
  if (length < 0x80) return tag + length.toString(16).padStart(2, '0') + content;
  const digits = length.toString(16);
  const padded = digits.length % 2 === 0 ? digits : `0${digits}`;
  return tag + (0x80 + padded.length / 2).toString(16) + padded + content;
}

function requestBody(publicKey: string, uri: string): string {
  const name = encode('86', Buffer.from(uri, 'utf8').toString('hex'));
  const extension = encode('30', subjectAlternativeName, critical, encode('04', encode('30', name)));
  const attribute = encode('30', extensionRequest, encode('31', encode('30', extension)));
  // Version 0 and an empty subject: only the extension names the identity.
  return encode('30', '020100', '3000', publicKey, encode('a0', attribute));
}

/**
 * Creates a PKCS #10 request for one SPIFFE id with a fresh P-256 key: SHA-256, empty subject, and exactly one
 * extension, a critical subject alternative name with that URI. Ambient contract 5.
 */
export async function createCertificateRequest(uri: string): Promise<CertificateRequest> {
  // Asynchronous, so that key generation does not block the event loop.
  const keys = await promisify(generateKeyPair)('ec', {
    namedCurve: 'prime256v1',
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
  });
  const privateKey = createPrivateKey({ key: keys.privateKey, format: 'der', type: 'pkcs8' });
  const body = requestBody(keys.publicKey.toString('hex'), uri);
  const signature = sign('sha256', Buffer.from(body, 'hex'), privateKey).toString('hex');
  const der = Buffer.from(encode('30', body, ecdsaWithSha256, encode('03', '00', signature)), 'hex');
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
  return { pem, privateKey };
}

/** The certificates of one answer, sorted by role. */
export interface IssuedChain {
  /** Leaf first, then the intermediates. */
  readonly chain: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
}

/** Conditions that an answer must meet. */
interface ResponseExpectation {
  /** The requested SPIFFE id. `undefined` in dedicated mode, where the authority decides. */
  readonly uri: string | undefined;
  readonly privateKey: KeyObject;
}

const certificatePem = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Returns every certificate in a text of PEM blocks, in order. Throws when a block is not a certificate. */
function parseCertificates(pem: string): X509Certificate[] {
  return (pem.match(certificatePem) ?? []).map((block) => new X509Certificate(block));
}

/** Returns the first URI of the subject alternative name that is a SPIFFE workload identity. */
export function spiffeUri(certificate: X509Certificate): string | undefined {
  for (const name of (certificate.subjectAltName ?? '').split(', ')) {
    if (name.startsWith('URI:') && parseIdentity(name.slice(4)) !== undefined) return name.slice(4);
  }
  return undefined;
}

function malformed(what: string, cause?: unknown): KmeshError {
  return new KmeshError(
    'KMESH_CA_RESPONSE_INVALID',
    `the certificate authority's answer is unusable: ${what}; check the istiod that CA_ADDRESS points to`,
    { cause },
  );
}

function parseElement(pem: string, position: string): X509Certificate[] {
  let certificates: X509Certificate[];
  try {
    certificates = parseCertificates(pem);
  } catch (cause) {
    throw malformed(`${position} is not a certificate`, cause);
  }
  if (certificates.length === 0) throw malformed(`${position} holds no certificate`);
  return certificates;
}

/**
 * Splits the `cert_chain` of an answer by role: the leaf comes first, the roots (one or several) are in the last
 * element, intermediates between them. Ambient contract 5.
 *
 * @throws KMESH_CA_RESPONSE_EMPTY, KMESH_CA_ROOT_MISSING (a single element), KMESH_CA_RESPONSE_INVALID,
 * KMESH_CA_SAN_MISMATCH (the leaf is for another identity), KMESH_CA_KEY_MISMATCH (the leaf is for another key).
 */
export function parseCertificateResponse(
  elements: readonly string[],
  expected: ResponseExpectation,
): IssuedChain {
  const [first, ...rest] = elements;
  const last = rest.pop();
  if (first === undefined || first === '') {
    throw new KmeshError(
      'KMESH_CA_RESPONSE_EMPTY',
      'the certificate authority answered without a certificate; check the log of istiod',
    );
  }
  if (last === undefined) {
    throw new KmeshError(
      'KMESH_CA_ROOT_MISSING',
      'the certificate authority answered without a root certificate; a chain needs at least a leaf and a root',
    );
  }
  const chain = [
    ...parseElement(first, 'the leaf'),
    ...rest.flatMap((element, index) => parseElement(element, `intermediate ${index + 1}`)),
  ];
  const roots = parseElement(last, 'the root');
  const leaf = chain[0];
  if (leaf === undefined) throw malformed('the leaf holds no certificate');
  const found = spiffeUri(leaf);
  if (expected.uri !== undefined && found !== expected.uri) {
    throw new KmeshError(
      'KMESH_CA_SAN_MISMATCH',
      `asked for a certificate of ${expected.uri}, got one of ${found ?? 'no SPIFFE identity'}; it is discarded`,
    );
  }
  if (!leaf.checkPrivateKey(expected.privateKey)) {
    throw new KmeshError(
      'KMESH_CA_KEY_MISMATCH',
      'the certificate authority signed a key that was not in the request',
    );
  }
  return { chain, roots };
}
