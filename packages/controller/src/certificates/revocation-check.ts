import type { X509Certificate } from 'node:crypto';
import { readDer, readOne } from './der-reader.ts';
import { normaliseSerial, type RevocationList, readKeyIdentifier } from './revocation-list.ts';

/** The certificate of a chain that an authority has revoked. */
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
 * Whether `list` speaks for the authority that issued `certificate`. Authorities may share a name, so the key decides:
 * the signature when the issuer's certificate is at hand, else the key identifiers. When neither can tell, the name
 * does: better to refuse one connection too many.
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
 * Looks for a revoked certificate in a chain, at full depth. A certificate that no list speaks about counts as not
 * revoked, and an expired list still counts. Ambient contract 5.
 *
 * @param chain leaf first.
 * @param roots further certificates in which issuers may be found, such as the trust bundle.
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
