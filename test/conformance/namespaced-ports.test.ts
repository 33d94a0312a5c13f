import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  type AddressPair,
  connectFrom,
  createLab,
  endpointText,
  type Host,
  type Lab,
  type LabMesh,
  type Pod,
  parseMetrics,
  startMesh,
} from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { assertFields, closeWithPaths } from '@kmesh/lab/testing/traffic/paths.ts';

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
let server: Pod;
let plain: Pod;

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab, { environment: { CONNECTION_TERMINATION_DEADLINE: '10s' } });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }, 1));
  ({ pod: plain } = await mesh.pod({ name: 'plain', captured: false }));
  await server.serve({ port: 8080, mode: 'double' });
});
after(() => closeWithPaths(mesh, lab));

const families = ['v4', 'v6'] as const;
const loopback: AddressPair = { v4: '127.0.0.1', v6: '::1' };

/** `C`: connect failed, `R`: connected without an answer, `H`: an HTTP error, else the status. */
async function outcome(from: Host, ip: string, port: number): Promise<string> {
  const { how, bytes } = await attempt(
    from,
    ip,
    port,
    'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
  );
  if (how === 'refused') return 'C';
  if (how === 'open') return 'hangs';
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(bytes)?.[1] ?? 0);
  if (status >= 400) return 'H';
  return status === 0 ? 'R' : `HTTP ${status}`;
}

describe("connections to the proxy's own ports", () => {
  for (const { id, what, target, ports, captured, uncaptured } of [
    {
      id: 'NSP-20',
      what: "the node's",
      target: 'node',
      ports: [15001, 15006],
      captured: 'R',
      uncaptured: 'C',
    },
    { id: 'NSP-21', what: "the node's", target: 'node', ports: [15008], captured: 'R', uncaptured: 'R' },
    {
      id: 'NSP-22',
      what: "the node's",
      target: 'node',
      ports: [15080, 15000],
      captured: 'R',
      uncaptured: 'C',
    },
    {
      id: 'NSP-23',
      what: "the node's",
      target: 'node',
      ports: [15020, 15021],
      captured: 'H',
      uncaptured: 'H',
    },
    {
      id: 'NSP-24',
      what: "a captured pod's",
      target: 'pod',
      ports: [15001, 15006, 15008],
      captured: 'R',
      uncaptured: 'R',
    },
    {
      id: 'NSP-25',
      what: "a captured pod's",
      target: 'pod',
      ports: [15080, 15000, 15020, 15021],
      captured: 'C',
      uncaptured: 'R',
    },
    {
      id: 'NSP-26',
      what: "loopback's",
      target: 'loopback',
      ports: [15001, 15006, 15008],
      captured: 'R',
      uncaptured: undefined,
    },
    {
      id: 'NSP-27',
      what: "loopback's",
      target: 'loopback',
      ports: [15080, 15000, 15020, 15021],
      captured: 'C',
      uncaptured: undefined,
    },
  ] as const) {
    for (const variant of ['iptables', 'nftables'] as const) {
      test(`${id}: ${what} ports ${ports.join(', ')} from a captured pod: ${captured}, from outside: ${uncaptured ?? 'not asked'} (${variant})`, async () => {
        // For rows about a pod the captured pod dials its own address.
        const caller = variant === 'iptables' ? client : server;
        const { node } = mesh.node(variant === 'iptables' ? 0 : 1);
        const addresses = { node: node.addresses, pod: caller.addresses, loopback }[target];
        for (const family of families) {
          for (const port of ports) {
            const where = endpointText(addresses[family], port);
            assert.equal(await outcome(caller, addresses[family], port), captured, `captured to ${where}`);
            if (uncaptured === undefined) continue;
            // Plaintext has no userspace hop on the kernel path, so a missing listener refuses the connect.
            const direct = mesh.kernelPath && id === 'NSP-25';
            const expected = direct ? 'C' : uncaptured;
            assert.equal(await outcome(plain, addresses[family], port), expected, `uncaptured to ${where}`);
          }
        }
      });
    }
  }

  test('NSP-24: the ports of another captured pod, from a captured pod', async () => {
    for (const family of families) {
      for (const port of [15001, 15006, 15008]) {
        assert.equal(await outcome(client, server.addresses[family], port), 'R', `${family} ${port}`);
      }
    }
  });
});

for (const family of families) {
  test(`NSP-12: a pod fetches the metrics of another node's proxy, both ends over mutual TLS (IP${family})`, async () => {
    const { node, proxy } = mesh.node(1);
    const watch = await proxy.watch();
    const host = node.addresses[family];
    const answer = await client.http({ host, port: 15020, path: '/metrics' });
    assert.equal(answer.status, 200);
    assert.match(answer.body, /^# TYPE istio_build gauge$/m);
    assertFields(await watch.line('inbound', { 'dst.hbone_addr': endpointText(host, 15020) }), {
      'src.identity': spiffe(client),
      'dst.addr': endpointText(host, 15008),
      'dst.identity': 'spiffe://cluster.local/ns/istio-system/sa/ztunnel',
      error: undefined,
    });
  });
}

for (const { encoding, decode } of [
  { encoding: 'gzip', decode: gunzipSync },
  { encoding: 'zstd', decode: zstdDecompressSync },
  { encoding: 'br', decode: brotliDecompressSync },
]) {
  test(`NSP-13: metrics are compressed with ${encoding} on request`, async () => {
    const { node } = mesh.node(0);
    const socket = await connectFrom(plain, { host: node.addresses.v4, port: 15020 });
    const call = request({
      path: '/metrics',
      headers: { host: 'x', 'accept-encoding': encoding, connection: 'close' },
      createConnection: () => socket,
    });
    call.end();
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    assert.equal(response.headers['content-encoding'], encoding);
    const body = decode(Buffer.concat(await response.toArray())).toString();
    assert.ok(parseMetrics(body).some(({ name }) => name === 'istio_build'));
    assert.match(body, /# EOF\n$/);
  });
}

describe('shutdown', () => {
  for (const [index, whose] of [
    [0, 'client'],
    [1, 'server'],
  ] as const) {
    test(`NSP-09: while the ${whose}'s proxy shuts down an open connection continues; after it new ones fail within 2 s`, async () => {
      const { proxy, agent } = mesh.node(index);
      const established = await open(client, server.addresses.v4, 8080);
      await exchange(established);
      proxy.kill('SIGTERM');
      await proxy.until('it drains', () => proxy.log.includes('draining'));
      for (let round = 0; round < 5; round++) {
        await exchange(established);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const ended = proxy.ended;
      established.end();
      assert.deepEqual(await ended, { code: 0, signal: null });
      for (const family of families) {
        const began = performance.now();
        const { how, bytes } = await attempt(client, server.addresses[family], 8080);
        assert.notEqual(how, 'open');
        assert.equal(bytes, '');
        assert.ok(performance.now() - began < 2_000, 'promptly');
      }
      proxy.start();
      await proxy.ready();
      await agent.whenReady();
      for (const family of families) await echo(client, server.addresses[family]);
    });
  }
});
