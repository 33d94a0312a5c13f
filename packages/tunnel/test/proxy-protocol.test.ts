import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyHeader } from '../src/inbound/proxy-protocol.ts';

test('an IPv4 header without an identity is 28 bytes', () => {
  const header = proxyHeader({ ip: '10.0.0.1', port: 1234 }, { ip: '10.0.0.2', port: 80 }, undefined);
  assert.equal(header.toString('hex'), '0d0a0d0a000d0a515549540a2111000c0a0000010a00000204d20050');
});

test('the identity follows as value of type 0xD0', () => {
  const header = proxyHeader({ ip: '10.0.0.1', port: 1 }, { ip: '10.0.0.2', port: 2 }, 'spiffe://td');
  assert.equal(header.readUInt16BE(14), 12 + 3 + 11);
  assert.equal(header.subarray(28).toString('hex'), `d0000b${Buffer.from('spiffe://td').toString('hex')}`);
});

test('IPv6 addresses are written in full, and a mixed pair as IPv6', () => {
  const pure = proxyHeader({ ip: 'fd00::1', port: 1 }, { ip: 'fd00::2', port: 2 }, undefined);
  assert.equal(pure[13], 0x21);
  assert.equal(pure.subarray(16, 32).toString('hex'), 'fd000000000000000000000000000001');
  const mixed = proxyHeader({ ip: '10.0.0.1', port: 1 }, { ip: 'fd00::2', port: 2 }, undefined);
  assert.equal(mixed.subarray(16, 32).toString('hex'), '00000000000000000000ffff0a000001');
});

test('an invalid address is refused and named', () => {
  assert.throws(() => proxyHeader({ ip: 'host', port: 1 }, { ip: '10.0.0.2', port: 2 }, undefined), {
    code: 'KMESH_TUNNEL_PROXY_HEADER',
    message: /"host"/,
  });
});
