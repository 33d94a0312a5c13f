import { type google, istio } from '../gen/certificate.js';
import { codec } from './codec.ts';

/** The certificate service (docs/contract.md 5). `validityDuration` is in seconds. */
export const IstioCertificateRequest = codec(istio.v1.auth.IstioCertificateRequest);
export type IstioCertificateRequest = istio.v1.auth.IstioCertificateRequest.$Properties;
export const IstioCertificateResponse = codec(istio.v1.auth.IstioCertificateResponse);
export type IstioCertificateResponse = istio.v1.auth.IstioCertificateResponse.$Properties;
export type Struct = google.protobuf.Struct.$Properties;

/** HTTP/2 path of the call. */
export const createCertificatePath = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
