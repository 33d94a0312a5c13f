import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { isKmeshError } from '@kmesh/api';
import { IstiodThread, standardTimes } from '../../src/istiod/thread.ts';
import { xdsSettings as settings } from '../xds/support/client.ts';
import { ScriptedControlPlane } from '../xds/support/control-plane.ts';

test('when the thread ends its streams fail, and the next stream starts it again', async () => {
  using plane = await ScriptedControlPlane.start();
  const controlPlane = { address: plane.address, rootCa: '', clusterId: 'c', headers: {} };
  const thread = new IstiodThread();
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

test('when the thread ends its pending calls fail, a cancelled call ends, and the next call starts it again', async () => {
  // Accepts connections and never answers.
  const taken: Socket[] = [];
  const silent = createServer((socket) => void taken.push(socket.on('error', () => undefined)));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const controlPlane = { address, rootCa: '', clusterId: 'c', headers: {} };
  const thread = new IstiodThread();
  const unexpected = (reason: string): void => assert.fail(reason);
  using calls = thread.calls({ controlPlane, settings, callMilliseconds: 60_000 }, unexpected);

  const interrupted = calls.call(Buffer.from('request'));
  await once(silent, 'connection');
  await thread.close();
  await assert.rejects(interrupted, (error) => isKmeshError(error, 'KMESH_CA_UNREACHABLE'));

  const cancel = new AbortController();
  const cancelled = calls.call(Buffer.from('request'), cancel.signal);
  await once(silent, 'connection');
  cancel.abort();
  await assert.rejects(cancelled, (error) => isKmeshError(error, 'KMESH_CA_REFUSED'));
  await assert.rejects(calls.call(Buffer.from('request'), cancel.signal), /abort/i);

  await thread.close();
  for (const socket of taken) socket.destroy();
  silent.close();
});
