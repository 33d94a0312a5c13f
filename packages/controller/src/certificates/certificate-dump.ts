import type { X509Certificate } from 'node:crypto';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { CertificateEntry } from './certificate-manager.ts';

/** One certificate of the config dump (ambient contract 13.6). */
interface DumpedCertificate {
  /** Base64 of the PEM text. */
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
}

/** One element of the config dump's `certificates` (ambient contract 13.6). Holds no key. */
interface DumpedIdentity {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly DumpedCertificate[];
  readonly rootCerts: readonly DumpedCertificate[];
}

function seconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

function dumpCertificate(certificate: X509Certificate): DumpedCertificate {
  return {
    pem: Buffer.from(certificate.toString()).toString('base64'),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: seconds(certificate.validFromDate),
    expirationTime: seconds(certificate.validToDate),
  };
}

/** The `certificates` array of the config dump, ordered by identity. */
export function dumpCertificates(entries: readonly CertificateEntry[]): DumpedIdentity[] {
  return entries
    .map((entry) => ({
      identity: formatIdentityUri(entry.identity),
      state: entry.state === 'Unavailable' ? `Unavailable: ${entry.reason ?? ''}` : entry.state,
      certChain: (entry.certificate?.chain ?? []).map(dumpCertificate),
      rootCerts: (entry.certificate?.roots ?? []).map(dumpCertificate),
    }))
    .sort((left, right) => (left.identity < right.identity ? -1 : 1));
}
