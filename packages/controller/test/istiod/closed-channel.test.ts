import assert from 'node:assert/strict';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { eventually } from '@kmesh/api/testing';
import { createAuthority } from '@kmesh/lab';
import { channelCredentials, grpcTarget, tlsChannelOptions } from '../../src/istiod/channel.ts';
import { openDeltaStream } from '../../src/istiod/stream.ts';
import { standardTimes } from '../../src/istiod/thread.ts';

const ATTEMPTS = 6;
const settings = {
  ...{ address: 'XDS_ADDRESS', rootCa: 'XDS_ROOT_CA', alternativeHostname: 'ALT_XDS_HOSTNAME' },
  ...{ token: 'AUTH_TOKEN', headers: 'XDS_HEADER_' },
};

test('XDS-11: connections that failed are not made later, when the control plane is back', async () => {
  const authority = createAuthority();
  const leaf = authority.issue({ dnsNames: ['localhost'] });
  // A port that nothing listens on, until the control plane is back there.
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));

  const plane = {
    address: `https://localhost:${port}`,
    rootCa: authority.rootPem,
    clusterId: '',
    headers: {},
  };
  const open = async () => {
    const end = { closed: false };
    const stream = openDeltaStream({
      target: grpcTarget(plane.address),
      credentials: await channelCredentials(plane, settings, end),
      metadata: new Metadata(),
      channelOptions: { ...tlsChannelOptions(plane), 'grpc.ssl_target_name_override': 'localhost' },
      times: standardTimes,
      onConnected: () => {},
    });
    void stream.ended.then(() => {
      end.closed = true;
    });
    return stream;
  };
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { connected } = await (await open()).ended;
    assert.equal(connected, false);
  }

  let [accepted, sessions] = [0, 0];
  const server = createSecureServer({ key: leaf.privateKeyPem, cert: leaf.chainPem });
  server.on('connection', () => accepted++);
  server.on('session', (session) => {
    sessions++;
    session.on('error', () => {});
    session.once('close', () => sessions--);
  });
  server.on('stream', (stream) => stream.on('error', () => {}));
  server.listen(port, 'localhost');
  const live = await open();
  try {
    await eventually(
      `all but one of ${ATTEMPTS + 1} connections to end`,
      () => accepted > ATTEMPTS && sessions === 1,
    );
  } finally {
    live.close();
    await live.ended;
    server.close();
  }
});
