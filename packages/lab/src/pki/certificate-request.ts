import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type DerElement, fromPem, readElements, readObjectIdentifier } from './der.ts';

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
