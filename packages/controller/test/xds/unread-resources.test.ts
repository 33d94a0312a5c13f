import assert from 'node:assert/strict';
import { test } from 'node:test';
import { xds } from '@kmesh/api';
import { Slicer } from '@kmesh/orchestration';
import { UnreadResources } from '../../src/xds/unread-resources.ts';

test('a long response loses its read part on the way, and no resource', async () => {
  const value = Buffer.alloc(100_000, 7);
  const names = Array.from({ length: 200 }, (_, index) => `resource-${index}`);
  const encoded = xds.DeltaDiscoveryResponse.encode({
    typeUrl: xds.addressTypeUrl,
    resources: names.map((name) => ({ name, version: '1', resource: { value } })),
  });
  const bytes = Buffer.from(new Uint8Array(encoded).buffer);
  const resources = new UnreadResources(bytes, new Slicer(1));
  const seen: string[] = [];
  let shrunk = 0;
  for (let resource = resources.next(); resource !== undefined; resource = resources.next()) {
    assert.equal(resource.damage, undefined);
    assert.equal(resource.payload?.length, value.length);
    seen.push(resource.name);
    if (!resources.shrinkIsDue) continue;
    await resources.shrink();
    shrunk++;
  }
  assert.deepEqual(seen, names);
  assert.equal(shrunk, 2);
  assert.equal(bytes.length, 0, 'the memory of the whole response is given back');
});
