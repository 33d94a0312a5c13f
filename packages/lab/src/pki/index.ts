export {
  type Authority,
  type AuthorityOptions,
  createAuthority,
  type IssuedCertificate,
  type IssuedIdentity,
  type LeafOptions,
  type RevocationList,
  type RevocationListOptions,
  type Validity,
} from './authority.ts';
export {
  type CertificateRequest,
  parseCertificateRequest,
  type RequestedExtension,
} from './certificate-request.ts';
export type { AlternativeNames } from './extensions.ts';
