import type { caProto } from '@kmesh/api';
import type { Authority } from '../pki/authority.ts';
import { parseCertificateRequest } from '../pki/x509-fields.ts';
import type { CallerIdentity } from './node-check.ts';

/** Behaviour of the fake's authority; every field may be changed while it runs. */
export interface CertificateSettings {
  /** Lifetime of issued certificates, regardless of the request; `undefined`: as requested, at most 24 h. */
  lifetimeSeconds: number | undefined;
  /** Shifts notBefore and notAfter, as a wrong clock would. */
  clockOffsetSeconds: number;
  /** Sign with an intermediate, which then is part of the chain. */
  intermediate: boolean;
  /** Further roots in the last element. */
  extraRootsPem: string[];
  /** Milliseconds before an answer. */
  delayMilliseconds: number;
  /** Answer with this gRPC status. */
  status: { readonly code: number; readonly details: string } | undefined;
  /** Send a chain with this fault. */
  chain: 'complete' | 'empty' | 'leaf only' | 'garbage';
  /** Issue for this SPIFFE id instead of the requested one. */
  wrongUri: string | undefined;
  /** Identities whose impersonation is accepted. */
  impersonation: 'allow' | 'deny';
}

export const defaultCertificateSettings: CertificateSettings = {
  lifetimeSeconds: undefined,
  clockOffsetSeconds: 0,
  intermediate: false,
  extraRootsPem: [],
  delayMilliseconds: 0,
  status: undefined,
  chain: 'complete',
  wrongUri: undefined,
  impersonation: 'allow',
};

/** One recorded call. */
export interface RecordedCertificateRequest {
  /** The SPIFFE id of the request's own name. */
  readonly uri: string;
  readonly impersonated: string | undefined;
  readonly metadataPresent: boolean;
  readonly validitySeconds: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The front-side connection's number, which identifies the channel. */
  readonly peer: string;
}

/** A refusal, with the gRPC status that istiod would give. */
export class CertificateRefusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'CertificateRefusal';
    this.code = code;
  }
}

interface CertificateCall {
  readonly request: caProto.IstioCertificateRequest;
  readonly caller: CallerIdentity;
  readonly trustDomain: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly peer: string;
}

interface CertificateCallResult {
  readonly recorded: RecordedCertificateRequest;
  /** Rules that the request violates and a strict authority checks. */
  readonly violations: readonly string[];
  issue(): caProto.IstioCertificateResponse;
}

const longestLifetimeSeconds = 86_400;

function requestViolations(
  call: CertificateCall,
  parsed: ReturnType<typeof parseCertificateRequest>,
): string[] {
  const violations: string[] = [];
  if (!parsed.emptySubject) violations.push('the request names a subject');
  if (parsed.signatureAlgorithm !== '1.2.840.10045.4.3.2')
    violations.push('the request is not signed with ECDSA and SHA-256');
  if (parsed.publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    violations.push('the key is not P-256');
  const [extension] = parsed.extensions;
  if (parsed.extensions.length !== 1 || extension?.identifier !== '2.5.29.17' || !extension.critical) {
    violations.push('the request does not have exactly one extension, a critical subject alternative name');
  }
  if (parsed.uris.length !== 1 || parsed.otherNames > 0)
    violations.push('the request does not have exactly one URI');
  if ((call.request.validityDuration ?? 0) <= 0) violations.push('the request has no lifetime');
  return violations;
}

/**
 * Reads one CreateCertificate call and accepts or refuses it as istiod does (ambient contract 5).
 *
 * @throws CertificateRefusal
 */
export function acceptCertificateCall(
  call: CertificateCall,
  authorities: { readonly root: Authority; readonly intermediate: Authority },
  settings: CertificateSettings,
): CertificateCallResult {
  let parsed: ReturnType<typeof parseCertificateRequest>;
  try {
    parsed = parseCertificateRequest(call.request.csr ?? '');
  } catch (error) {
    throw new CertificateRefusal(3, `CSR is malformed: ${String(error)}`);
  }
  if (!parsed.signatureValid) throw new CertificateRefusal(3, 'CSR signature does not verify');
  const impersonated = call.request.metadata?.fields?.['ImpersonatedIdentity']?.stringValue ?? undefined;
  const own = `spiffe://${call.trustDomain}/ns/${call.caller.namespace}/sa/${call.caller.serviceAccount}`;
  const uri = impersonated ?? own;
  const violations = requestViolations(call, parsed);
  if (parsed.uris[0] !== uri)
    violations.push(`the request is for ${parsed.uris[0] ?? 'nobody'}, the call for ${uri}`);
  return {
    violations,
    recorded: {
      uri: parsed.uris[0] ?? '',
      impersonated,
      metadataPresent: call.request.metadata !== null && call.request.metadata !== undefined,
      validitySeconds: call.request.validityDuration ?? 0,
      headers: call.headers,
      peer: call.peer,
    },
    issue: () => {
      if (settings.status !== undefined)
        throw new CertificateRefusal(settings.status.code, settings.status.details);
      if (impersonated !== undefined && settings.impersonation === 'deny') {
        throw new CertificateRefusal(16, 'request impersonation authentication failure');
      }
      const asked = Math.min(call.request.validityDuration ?? longestLifetimeSeconds, longestLifetimeSeconds);
      const lifetime = settings.lifetimeSeconds ?? asked;
      const start = Date.now() + settings.clockOffsetSeconds * 1000;
      const leaf = (settings.intermediate ? authorities.intermediate : authorities.root).issue({
        publicKey: parsed.publicKey,
        uris: [settings.wrongUri ?? uri],
        notBefore: new Date(start),
        notAfter: new Date(start + lifetime * 1000),
      });
      return { certChain: chainElements(leaf.certificatePem, authorities, settings) };
    },
  };
}

function chainElements(
  leafPem: string,
  authorities: { readonly root: Authority; readonly intermediate: Authority },
  settings: CertificateSettings,
): string[] {
  switch (settings.chain) {
    case 'empty':
      return [];
    case 'leaf only':
      return [leafPem];
    case 'garbage':
      return ['not a certificate', 'neither'];
    case 'complete': {
      const intermediates = settings.intermediate ? [authorities.intermediate.certificatePem] : [];
      return [
        leafPem,
        ...intermediates,
        [authorities.root.certificatePem, ...settings.extraRootsPem].join(''),
      ];
    }
  }
}
