import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { standardTimes, XdsThread } from '../../src/xds/thread.ts';
import { ScriptedControlPlane } from './support/control-plane.ts';

const settings = {
  address: 'XDS_ADDRESS',
  rootCa: 'XDS_ROOT_CA',
  alternativeHostname: 'ALT_XDS_HOSTNAME',
  token: 'AUTH_TOKEN',
  headers: 'XDS_HEADER_',
};

test('a thread that ends fails its streams, and the next stream starts it again', async () => {
  using plane = await ScriptedControlPlane.start();
  const controlPlane = { address: plane.address, rootCa: '', clusterId: 'c', headers: {} };
  const thread = new XdsThread();
  using first = thread.open({ controlPlane, settings, times: standardTimes });
  const waiting = first.next();
  await plane.stream();
  await thread.close();
  assert.equal(await waiting, undefined);
  assert.equal((await first.ended).code, status.INTERNAL);
  assert.equal(first.isConnected(), false);

  using second = thread.open({ controlPlane, settings, times: standardTimes });
  const next = second.next();
  const stream = await plane.stream();
  stream.send({ typeUrl: 't', nonce: 'n' });
  const response = await next;
  assert.deepEqual(response?.header, { typeUrl: 't', nonce: 'n' });
  assert.equal(await response?.nextPiece(), undefined);
  await thread.close();
});
