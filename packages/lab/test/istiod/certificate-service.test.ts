import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  acceptCertificateCall,
  CertificateRefusal,
  type CertificateSettings,
  defaultCertificateSettings,
} from '../../src/istiod/certificate-service.ts';
import { createAuthority } from '../../src/pki/authority.ts';

const uri = 'spiffe://cluster.local/ns/default/sa/web';
const root = createAuthority();
const authorities = { root, intermediate: root.intermediate() };

function request(key: readonly string[], subject: string, names: string): string {
  const directory = mkdtempSync(join(tmpdir(), `kmesh-ca-${process.pid}-`));
  try {
    return execFileSync(
      'openssl',
      // prettier-ignore
      [
        'req',
        '-new',
        ...key,
        '-nodes',
        '-keyout',
        join(directory, 'key'),
        '-subj',
        subject,
        '-addext',
        `subjectAltName=${names}`,
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];

function call(
  csr: string,
  settings: Partial<CertificateSettings> = {},
  impersonated: string | undefined = uri,
) {
  return acceptCertificateCall(
    {
      request: {
        csr,
        validityDuration: 60,
        ...(impersonated === undefined
          ? {}
          : { metadata: { fields: { ImpersonatedIdentity: { stringValue: impersonated } } } }),
      },
      caller: { namespace: 'istio-system', serviceAccount: 'ztunnel' },
      trustDomain: 'cluster.local',
      headers: {},
      peer: 'test',
    },
    authorities,
    { ...defaultCertificateSettings, ...settings },
  );
}

for (const { title, csr, expected } of [
  { title: 'a well-formed request', csr: request(p256, '/', `critical,URI:${uri}`), expected: [] },
  {
    title: 'a subject',
    csr: request(p256, '/CN=web', `critical,URI:${uri}`),
    expected: ['the request names a subject'],
  },
  {
    title: 'a name that is not critical',
    csr: request(p256, '/', `URI:${uri}`),
    expected: ['the request does not have exactly one extension, a critical subject alternative name'],
  },
  {
    title: 'a DNS name beside the URI',
    csr: request(p256, '/', `critical,URI:${uri},DNS:web`),
    expected: ['the request does not have exactly one URI'],
  },
  {
    title: 'another identity than the call',
    csr: request(p256, '/', 'critical,URI:spiffe://cluster.local/ns/a/sa/b'),
    expected: [`the request is for spiffe://cluster.local/ns/a/sa/b, the call for ${uri}`],
  },
  {
    title: 'an RSA key',
    csr: request(['-newkey', 'rsa:2048'], '/', `critical,URI:${uri}`),
    expected: ['the request is not signed with ECDSA and SHA-256', 'the key is not P-256'],
  },
]) {
  test(`the strict authority on ${title}`, () => {
    assert.deepEqual(call(csr).violations, expected);
  });
}

test("a tampered request, an undecodable one and a refused impersonation get istiod's status", () => {
  const good = request(p256, '/', `critical,URI:${uri}`);
  const bytes = Buffer.from(good.replaceAll(/-----[^-]+-----/g, ''), 'base64');
  bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 1;
  const tampered = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  const refusal = (code: number, text: RegExp) => (error: unknown) =>
    error instanceof CertificateRefusal && error.code === code && text.test(error.message);
  assert.throws(() => call(tampered), refusal(3, /signature/));
  assert.throws(() => call('hello'), refusal(3, /malformed/));
  assert.throws(() => call(good, { impersonation: 'deny' }).issue(), refusal(16, /impersonation/));
  assert.throws(() => call(good, { status: { code: 14, details: 'later' } }).issue(), refusal(14, /later/));
});
