import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer, Socket } from 'node:net';
import { test } from 'node:test';
import { closeDescriptor } from '../src/descriptors.ts';
import { createNetworkNamespace, type NetworkNamespace } from '../src/network-namespace.ts';
import { connectSocket, migrateOnClose, openListener } from '../src/socket.ts';

const port = 15008;

function nft(namespace: NetworkNamespace, rules: string): void {
  execFileSync('nsenter', [`--net=${namespace.path}`, 'nft', '-f', '-'], { input: rules });
}

/** Drops the last packet of every handshake before the listener. */
const holdHandshakes = `table inet hold { chain output { type filter hook output priority 0;
  tcp dport ${port} tcp flags & (syn | ack) == ack drop; }; }`;

for (const { address, migrate } of [
  { address: '127.0.0.1', migrate: true },
  { address: '::1', migrate: true },
  { address: '127.0.0.1', migrate: false },
]) {
  const outcome = migrate ? 'is served by the other listener' : 'is reset, unless the setting disables that';
  test(`a pending handshake at a listener that closes ${outcome} (${address})`, async () => {
    using namespace = createNetworkNamespace('hand-over');
    const listener = { namespace, address: '::', port, reusePort: true };
    const closing = openListener(listener);
    if (migrate) migrateOnClose(closing);
    nft(namespace, holdHandshakes);
    const client = new Socket({
      fd: await connectSocket({ namespace, address, port }),
      readable: true,
      writable: true,
    });
    const server = createServer((socket) => socket.end('served')).listen({ fd: openListener(listener) });
    try {
      closeDescriptor(closing);
      nft(namespace, 'delete table inet hold');
      client.write('hello');
      const answer = await new Promise<string>((resolve) => {
        client.once('data', (bytes) => resolve(bytes.toString()));
        client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      });
      assert.equal(answer, migrate ? 'served' : 'ECONNRESET');
    } finally {
      client.destroy();
      server.close();
    }
  });
}
