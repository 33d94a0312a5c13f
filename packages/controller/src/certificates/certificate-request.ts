import { createPrivateKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';

/** A certificate request and the key that it proves. The key exists nowhere else. */
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
  // Version 0 and an empty subject: whose certificate it is stands only in the extension.
  return encode('30', '020100', '3000', publicKey, encode('a0', attribute));
}

/**
 * A PKCS #10 request for one SPIFFE id with a fresh P-256 key: SHA-256, empty subject, and exactly one extension, a
 * critical subject alternative name with that URI. Ambient contract 5.
 */
export async function createCertificateRequest(uri: string): Promise<CertificateRequest> {
  // Off the event loop; PEM because the asynchronous form hands over encodings most portably.
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
