export { type Authority, createAuthority, type LeafOptions } from './authority.ts';
export { parseCertificateRequest } from './certificate-request.ts';
