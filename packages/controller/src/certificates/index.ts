export { CertificateClient, type CertificateClientOptions } from './certificate-client.ts';
export { type DumpedCertificate, type DumpedIdentity, dumpCertificates } from './certificate-dump.ts';
export {
  type CertificateChange,
  type CertificateEntry,
  CertificateManager,
  type CertificateManagerOptions,
  type CertificateSource,
  type CertificateWait,
  type IssuedCertificate,
} from './certificate-manager.ts';
export { CertificatePrefetch, type CertificatePrefetchOptions } from './certificate-prefetch.ts';
export { type CertificateRequest, createCertificateRequest } from './certificate-request.ts';
export { type IssuedChain, parseCertificateResponse, spiffeUri } from './certificate-response.ts';
export { type Clock, systemClock } from './clock.ts';
export { type DirectoryWatchOptions, watchDirectoryOf } from './directory-watch.ts';
export { type OwnIdentitySettings, ownIdentity } from './own-identity.ts';
export { refreshAt } from './refresh.ts';
export type { CertificatePriority } from './request-queue.ts';
export { findRevocation, type Revocation } from './revocation-check.ts';
export { parseRevocationLists, type RevocationList } from './revocation-list.ts';
export { type RevocationState, RevocationStore, type RevocationStoreOptions } from './revocation-store.ts';
export { WorkloadCertificate } from './workload-certificate.ts';
