import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { createCertificateRequest } from '../../src/certificates/certificate-messages.ts';

const uri = 'spiffe://td/ns/ns1/sa/sa1';

test('CRT-01: the request has P-256, SHA-256, an empty subject, one critical SAN and a valid signature', async () => {
  const { pem, privateKey } = await createCertificateRequest(uri);
  assert.equal(privateKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const text = execFileSync('openssl', ['req', '-noout', '-text', '-verify', '-subject'], {
    input: pem,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  assert.match(text, /ASN1 OID: prime256v1/);
  assert.match(text, /Signature Algorithm: ecdsa-with-SHA256/);
  assert.match(text, /^subject=\s*$/m);
  assert.match(text, /Subject: *$/m);
  const extensions = /Requested Extensions:\n([\s\S]*?)\n {4}Signature Algorithm/.exec(text)?.[1] ?? '';
  assert.deepEqual(
    extensions.split('\n').map((line) => line.trim()),
    ['X509v3 Subject Alternative Name: critical', `URI:${uri}`],
  );
});

test('CRT-01: a request for names of the greatest length is still well-formed', async () => {
  const long = `spiffe://${'t'.repeat(253)}/ns/${'n'.repeat(63)}/sa/${'s'.repeat(253)}`;
  const { pem } = await createCertificateRequest(long);
  const text = execFileSync('openssl', ['req', '-noout', '-text', '-verify'], {
    input: pem,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  assert.ok(text.includes(`URI:${long}`));
});

test('every request has its own key', async () => {
  const [one, two] = await Promise.all([createCertificateRequest(uri), createCertificateRequest(uri)]);
  assert.ok(!one.privateKey.equals(two.privateKey));
});
