import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import type { Overview } from '@kmesh/api';
import { takenPorts } from '../../src/demo/preflight.ts';
import { renderView, type ViewState, viewRows } from '../../src/demo/view.ts';

function state(change: Partial<ViewState> = {}): ViewState {
  return {
    elapsedMilliseconds: 2_000,
    tally: {
      connections: 300,
      failed: 0,
      byEndpoint: new Map([
        [
          'web',
          new Map([
            ['web-1', 25],
            ['web-2', 75],
          ]),
        ],
        ['greeter', new Map([['greeter-1', 0]])],
      ]),
      failures: new Map(),
    },
    overview: undefined,
    bytes: { sent: 4_096, received: 1_024 },
    canary: undefined,
    certificates: 3,
    hook: { nanoseconds: 1_000, runs: 10 },
    before: {
      elapsedMilliseconds: 1_000,
      connections: 100,
      bytes: { sent: 2_048, received: 1_024 },
      paths: { kernel: 100, tunnel: 20, outside: 3 },
    },
    problem: undefined,
    ...change,
  };
}

test('the view shows shares, and rates since the previous refresh', () => {
  const text = renderView(state(), 110, false);
  assert.match(text, /300 connections {2}200\/s {2}0 failed/);
  assert.match(text, /web +100 +web-1 25\.0 % +web-2 75\.0 %/);
  const policies = { paths: [{ path: 'tunnel', reason: 'endpoint', connections: 50 }], policyCount: 1 };
  const overview = { ...policies, workloadCount: 7, serviceCount: 3 } as unknown as Overview;
  const full = renderView(state({ overview }), 80, false);
  assert.match(full, /tunnel 50 \(30\/s\)/);
  assert.match(full, /7 workloads, 3 services, 1 policy, 3 certificates/);
  assert.match(text, /sent 4\.0 KiB \(2\.0 KiB\/s\), received 1\.0 KiB \(0 B\/s\)/);
});

test('the view shows what the canary should get and what it got', () => {
  const canary = { name: 'shop', wanted: 50, connections: 200, answered: 97 };
  assert.match(
    renderView(state({ canary }), 110, false),
    /shop: the route gives 50 % to the new version, it got 48\.5 % of 200/,
  );
  const none = { ...canary, connections: 0, answered: 0 };
  assert.match(renderView(state({ canary: none }), 110, false), /it got nothing yet/);
});

test('the view fits its rows and columns with any content, including the error of the mesh file', () => {
  const failures = new Map(Array.from({ length: 40 }, (_, n) => [`web: connect reason ${n}`, n] as const));
  const tally = { ...state().tally, failures };
  const problem = 'mesh.yaml:3:5: workloads[0].protocol is "HBON"; allowed: TCP, HBONE\n  and more';
  for (const colour of [false, true]) {
    const text = renderView(state({ tally, problem }), 80, colour);
    const lines = text.split('\n');
    assert.ok(lines.length <= viewRows, `${lines.length} lines`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
    for (const line of lines) assert.ok(line.replaceAll(/\x1b\[\d+m/g, '').length <= 80, line);
    assert.match(text, /mesh\.yaml:3:5/);
    assert.match(text, /and \d+ more/);
    assert.match(text, /Ctrl-C/);
  }
});

test('a port in use is found with the process that holds it, in either family', async () => {
  for (const host of ['127.0.0.1', '::']) {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const [taken, ...more] = takenPorts([port]);
    assert.deepEqual([taken?.port, more.length], [port, 0]);
    assert.match(String(taken?.by), new RegExp(`process ${process.pid}\\)`));
    server.close();
    await once(server, 'close');
    assert.deepEqual(takenPorts([port]), []);
  }
});
