import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openListener } from '@kmesh/linux';
import { Engine } from '../src/engine/engine.ts';
import type { Accepted } from '../src/engine/events.ts';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test('a removed listener still delivers what the kernel had accepted, and then its handler is forgotten', async () => {
  const engine = new Engine({}, (error) => assert.fail(String(error)));
  try {
    const accepted: Accepted[] = [];
    const handler = { accepted: (one: Accepted) => accepted.push(one), failed: () => assert.fail() };
    const port = await freePort();
    const listener = engine.addListener(openListener({ address: '127.0.0.1', port }), 'plaintext', handler);
    const client = connect(port, '127.0.0.1');
    await once(client, 'connect');
    engine.removeListener(listener);
    assert.equal(engine.listenerCount, 1);
    while (engine.listenerCount > 0) await sleep(1);
    assert.deepEqual(
      accepted.map(({ peer }) => peer.port),
      [client.localPort],
    );
    client.destroy();
  } finally {
    engine.close();
  }
});

/** Time slice of each thread of this process with this name, in nanoseconds. */
function slicesOf(name: string): number[] {
  const threads = readdirSync('/proc/self/task').map((id) => `/proc/self/task/${id}`);
  return threads
    .filter((thread) => readFileSync(`${thread}/comm`, 'utf8').trim() === name)
    .map((thread) => Number(/^se\.slice\s*:\s*(\d+)$/m.exec(readFileSync(`${thread}/sched`, 'utf8'))?.[1]));
}

test('a data thread has the shortest time slice, so that it runs soon after it wakes up', async () => {
  const engine = new Engine({}, (error) => assert.fail(String(error)));
  try {
    // A thread takes its name after its slice.
    await until(() => slicesOf('kmesh-tunnel').length > 0);
    for (const slice of slicesOf('kmesh-tunnel')) assert.equal(slice, 100_000);
  } finally {
    engine.close();
  }
});
