import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  createLab,
  endpointText,
  type Lab,
  type LabMesh,
  type MeshPod,
  type Pod,
  startMesh,
} from '@kmesh/lab';
import { echo, spiffe } from './namespaced-support/echo.ts';

let lab: Lab;
let mesh: LabMesh;

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab);
});
after(async () => {
  await mesh.close();
  await lab.close();
});

/** What every captured side counts for one exchange of 11 bytes with a doubling server. */
const counted = { opened: 1, closed: 1, received: 11, sent: 22, failed: 0 };
const outboundBytes = { bytes_sent: '11', bytes_recv: '22' };
const inboundBytes = { bytes_sent: '22', bytes_recv: '11' };

/** Fails unless `fields` has all of `expected`; `undefined` there means that a field is absent. */
function assertFields(
  fields: Readonly<Record<string, string>>,
  expected: Readonly<Record<string, string | RegExp | undefined>>,
): void {
  for (const [name, value] of Object.entries(expected)) {
    if (value instanceof RegExp) assert.match(fields[name] ?? '', value, name);
    else assert.equal(fields[name], value, `${name} in ${JSON.stringify(fields)}`);
  }
}

for (const variant of ['iptables', 'nftables'] as const) {
  describe(`pods captured by ${variant}`, () => {
    let client: Pod;
    let near: MeshPod;
    let far: MeshPod;
    let plain: Pod;

    before(async () => {
      const captured = { variant };
      ({ pod: client } = await mesh.pod({ name: `client-${variant}`, captured }));
      near = await mesh.pod({ name: `near-${variant}`, captured });
      far = await mesh.pod({ name: `far-${variant}`, captured }, 1);
      ({ pod: plain } = await mesh.pod({ name: `plain-${variant}`, captured: false }, 1));
      for (const pod of [near.pod, far.pod, plain]) await pod.serve({ port: 8080, mode: 'double' });
    });

    for (const family of ['v4', 'v6'] as const) {
      for (const [id, place] of [
        ['NSP-01', 'the same node'],
        ['NSP-02', 'another node'],
      ] as const) {
        test(`${id}: captured to captured on ${place} is HBONE, with both identities in both logs (IP${family})`, async () => {
          const server = id === 'NSP-01' ? near.pod : far.pod;
          const from = await mesh.proxyOf(client).watch();
          const to = await mesh.proxyOf(server).watch();
          const address = server.addresses[family];
          await echo(client, address);
          const identities = { 'src.identity': spiffe(client), 'dst.identity': spiffe(server) };
          const peers = {
            'dst.addr': endpointText(address, 15008),
            'dst.hbone_addr': endpointText(address, 8080),
          };
          const outbound = await from.line('outbound');
          assert.deepEqual([outbound.level, outbound.message], ['info', 'connection complete']);
          assertFields(outbound.fields, { ...identities, ...peers, ...outboundBytes, error: undefined });
          const inbound = await to.line('inbound');
          assertFields(inbound.fields, { ...identities, ...peers, ...inboundBytes, error: undefined });
          const secure = { connection_security_policy: 'mutual_tls', response_flags: '-' };
          assert.deepEqual(await from.traffic('source', 1, secure), counted);
          assert.deepEqual(await to.traffic('destination', 1, secure), counted);
        });
      }

      test(`NSP-03: captured to uncaptured is plain TCP without identities (IP${family})`, async () => {
        const from = await mesh.proxyOf(client).watch();
        const address = plain.addresses[family];
        await echo(client, address);
        assertFields((await from.line('outbound')).fields, {
          'src.identity': undefined,
          'dst.identity': undefined,
          'dst.addr': endpointText(address, 8080),
          'dst.hbone_addr': undefined,
          ...outboundBytes,
        });
        const open = { connection_security_policy: 'unknown', response_flags: '-' };
        assert.deepEqual(await from.traffic('source', 1, open), counted);
      });

      test(`NSP-04: uncaptured to captured is plaintext with the real source IP (IP${family})`, async () => {
        const to = await mesh.proxyOf(near.pod).watch();
        const address = near.pod.addresses[family];
        await echo(plain, address);
        assertFields((await to.line('inbound')).fields, {
          'src.addr': new RegExp(`^\\[?${plain.addresses[family]}\\]?:`),
          'src.identity': undefined,
          'dst.identity': undefined,
          'dst.addr': endpointText(address, 8080),
          ...inboundBytes,
        });
        const open = { connection_security_policy: 'unknown', response_flags: '-' };
        assert.deepEqual(await to.traffic('destination', 1, open), counted);
      });
    }
  });
}
