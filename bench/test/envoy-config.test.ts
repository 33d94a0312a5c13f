import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inboundSidecar, outboundSidecar } from '../peers/envoy-config.ts';

const service = {
  hostname: 'shop.default.svc.cluster.local',
  vip: '10.96.0.1',
  endpoint: '10.1.0.3',
  httpPorts: [9080],
  tcpPorts: [8081],
  clientUri: 'spiffe://cluster.local/ns/default/sa/sa-client',
  serverUri: 'spiffe://cluster.local/ns/default/sa/sa-server',
};
const identity = { certificateChainPem: 'chain', privateKeyPem: 'key', rootsPem: ['root'] };
const count = (value: unknown, word: string) => JSON.stringify(value).split(word).length - 1;

test('only one variant has a connection manager on HTTP ports, on both sides', () => {
  for (const side of [outboundSidecar, inboundSidecar]) {
    assert.equal(count(side('tcp', service, identity), 'HttpConnectionManager'), 0);
    assert.equal(count(side('http', service, identity), 'HttpConnectionManager'), 1);
  }
});

test('each side has mutual TLS and names the peer that it accepts', () => {
  const client = outboundSidecar('http', service, identity);
  const server = inboundSidecar('http', service, identity);
  assert.equal(count(client, service.serverUri), 2);
  assert.equal(count(server, service.clientUri), 2);
  assert.equal(count(server, '"require_client_certificate":true'), 2);
});
