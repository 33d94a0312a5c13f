import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { grpcStatus, statusName } from '../../src/istiod/control-plane.ts';

test('the codes of gRPC are those of the library', () => {
  const numbers = Object.entries(status).filter(([, value]) => typeof value === 'number');
  assert.deepEqual(grpcStatus, Object.fromEntries(numbers));
  assert.equal(statusName(14), 'UNAVAILABLE');
  assert.equal(statusName(99), '99');
});
