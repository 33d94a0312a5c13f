import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pod } from '@kmesh/lab';
import { gatewayed } from '@kmesh/lab/testing/tunnel/gateway.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { hello, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

let mesh: TestMesh;
let client: Pod;

before(async () => {
  mesh = await startTestMesh({ nodes: 2 });
  client = (await mesh.pod()).pod;
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

describe('double HBONE', () => {
  test('HBN-15: an inner connection that goes on after it refused the request is not left behind', async () => {
    const { service, inner, losses } = await gatewayed(mesh, 'refusing', 'ip');
    losses.refused = 2;
    assert.equal(await hello(client, service.vips[0]?.ip ?? '', 8080), 'hello worldhello world');
    assert.equal(inner.requests.length, 3);
    await until(() => inner.sessions.size === 0 && inner.open === 0);
  });
});
