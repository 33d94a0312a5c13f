import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { listenHttp } from '../../src/daemon/listen-http.ts';
import { Readiness, readinessHandler } from '../../src/daemon/readiness.ts';

test('PRC-17: readiness names the pending tasks; other methods get 405, other paths 404', async () => {
  const readiness = new Readiness();
  readiness.block('state manager');
  readiness.block('proxy');
  const server = await listenHttp(
    'readiness',
    { hosts: ['127.0.0.1'], port: 0 },
    readinessHandler(readiness),
  );
  const base = `http://127.0.0.1:${server.port}`;
  try {
    const pending = await fetch(`${base}/healthz/ready`);
    assert.equal(pending.status, 500);
    assert.match(await pending.text(), /pending: proxy, state manager\n$/);
    readiness.done('proxy');
    readiness.done('state manager');
    const ready = await fetch(`${base}/healthz/ready`);
    assert.deepEqual([ready.status, await ready.text()], [200, 'ready\n']);
    assert.equal((await fetch(`${base}/healthz/ready`, { method: 'POST' })).status, 405);
    assert.equal((await fetch(`${base}/other`)).status, 404);
  } finally {
    await server.close(0);
  }
});

test('a port in use is a start error that names the server and the port', async () => {
  const first = await listenHttp(
    'readiness',
    { hosts: ['127.0.0.1'], port: 0 },
    readinessHandler(new Readiness()),
  );
  try {
    await assert.rejects(
      listenHttp('admin', { hosts: ['127.0.0.1'], port: first.port }, () => {}),
      (error: unknown) =>
        isKmeshError(error, 'KMESH_LISTEN_FAILED') &&
        error.message.includes(`admin server cannot listen on port ${first.port}`),
    );
  } finally {
    await first.close(0);
  }
});
