import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { createAuthority } from '../../src/pki/authority.ts';

const identity = 'spiffe://cluster.local/ns/default/sa/web';

test('a leaf has its names, validity and serial, and a valid signature of its issuer', () => {
  const authority = createAuthority({ commonName: 'root one' });
  const notBefore = new Date('2026-01-01T00:00:00Z');
  const notAfter = new Date('2055-01-01T00:00:00Z');
  const leaf = authority.issue({
    uris: [identity],
    dnsNames: ['istiod.istio-system.svc'],
    ips: ['127.0.0.1', 'fd00::1'],
    notBefore,
    notAfter,
    serial: 0xff01n,
  });
  const read = new X509Certificate(leaf.certificatePem);
  assert.equal(
    read.subjectAltName,
    `DNS:istiod.istio-system.svc, URI:${identity}, IP Address:127.0.0.1, IP Address:FD00:0:0:0:0:0:0:1`,
  );
  assert.equal(read.serialNumber, 'FF01');
  assert.equal(read.validFromDate.getTime(), notBefore.getTime());
  assert.equal(read.validToDate.getTime(), notAfter.getTime());
  assert.equal(read.ca, false);
  const root = new X509Certificate(authority.certificatePem);
  assert.ok(root.ca);
  assert.ok(read.checkIssued(root));
  assert.ok(read.verify(root.publicKey));
  assert.equal(
    read.checkIssued(new X509Certificate(createAuthority({ commonName: 'root one' }).certificatePem)),
    false,
  );
});

test('OpenSSL verifies a chain with an intermediate, and refuses a leaf that a list revokes', () => {
  const directory = mkdtempSync(join(tmpdir(), `kmesh-pki-${process.pid}-`));
  try {
    const root = createAuthority();
    const intermediate = root.intermediate();
    const leaf = intermediate.issue({ uris: [identity] });
    const path = (name: string, content: string): string => {
      writeFileSync(join(directory, name), content);
      return join(directory, name);
    };
    const files = ['-CAfile', path('root', root.rootPem), '-untrusted', path('chain', leaf.chainPem)];
    const leafPath = path('leaf', leaf.certificatePem);
    const verify = (...extra: string[]): string =>
      execFileSync(
        'openssl',
        ['verify', '-x509_strict', '-purpose', 'sslclient', ...extra, ...files, leafPath],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
    assert.match(verify(), /OK/);
    const other = path('other.crl', intermediate.revocationList([1n, 2n]).pem);
    assert.match(verify('-crl_check', '-CRLfile', other), /OK/);
    const revoked = path('leaf.crl', intermediate.revocationList([leaf.serial]).pem);
    assert.throws(() => verify('-crl_check', '-CRLfile', revoked), /certificate revoked/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('Node completes mutual TLS with certificates of one authority', async () => {
  const root = createAuthority();
  const intermediate = root.intermediate();
  const server = intermediate.issue({ dnsNames: ['localhost'] });
  const client = intermediate.issue({ uris: [identity] });
  const listener = createServer({
    cert: server.chainPem,
    key: server.privateKeyPem,
    ca: root.rootPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  try {
    const accepted = once(listener, 'secureConnection');
    const socket = connect({
      port: (listener.address() as AddressInfo).port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: root.rootPem,
      cert: client.chainPem,
      key: client.privateKeyPem,
    });
    const [peer] = (await accepted) as [import('node:tls').TLSSocket];
    assert.equal(peer.getPeerCertificate().subjectaltname, `URI:${identity}`);
    peer.destroy();
    socket.destroy();
  } finally {
    listener.close();
  }
});
