import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { apiServer } from '../bare/addresses.ts';
import { makeCredentials } from '../bare/credentials.ts';

test('the API server has a certificate for its addresses and a separate token for each user', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-credentials-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const credentials = makeCredentials(folder, [{ name: 'system:node:node1', groups: ['system:nodes'] }]);
  const authority = new X509Certificate(credentials.authority);
  const certificate = new X509Certificate(credentials.files['apiserver.crt']);
  assert.ok(certificate.verify(authority.publicKey));
  assert.equal(certificate.checkIP(new URL(apiServer).hostname), new URL(apiServer).hostname);
  assert.equal(certificate.checkHost('kubernetes.default.svc'), 'kubernetes.default.svc');
  const tokens = new Map(
    credentials.files['tokens.csv']
      .trim()
      .split('\n')
      .map((line) => [line.split(',')[1], line.split(',')] as const),
  );
  for (const [user, group] of [
    ['admin', '"system:masters"'],
    ['system:node:node1', '"system:nodes"'],
  ] as const) {
    const config = JSON.parse(credentials.kubeconfig(user));
    assert.equal(config.users[0].user.token, tokens.get(user)?.[0]);
    assert.equal(tokens.get(user)?.[3], group);
  }
  assert.notEqual(tokens.get('admin')?.[0], tokens.get('system:node:node1')?.[0]);
});
