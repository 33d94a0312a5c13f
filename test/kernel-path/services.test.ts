import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import type { MeshUpdate } from '@kmesh/api';
import { buildNative, Dialer, type DialResult } from '@kmesh/lab/testing/kernel/dialer.ts';
import {
  createPodNamespace,
  service,
  startKernelPath,
  workload,
} from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { MeshState } from '@kmesh/orchestration';

const client = workload({ uid: 'client', addresses: ['10.9.0.9'] });
const vips = (...ips: string[]) => ips.map((ip) => ({ network: '', ip }));
const ECONNREFUSED = 111;
const CHANGES = repetitions({ ci: 240, full: 1_000 });
/** The dialers read the real peers of their sockets, which the getpeername programs would hide. */
const programs = ['kmesh_sockops', 'kmesh_connect4', 'kmesh_connect6'] as const;

/** Answers to `dials` in a mesh, each as sorted, distinct `ip|port` texts. */
async function dialIn(
  updates: readonly MeshUpdate[],
  dials: readonly { ip: string; port: number; count: number }[],
): Promise<string[][]> {
  return (await dialRaw(updates, dials)).map((results) => [...new Set(results.map(describeResult))].sort());
}

async function dialRaw(
  updates: readonly MeshUpdate[],
  dials: readonly { ip: string; port: number; count: number }[],
): Promise<DialResult[][]> {
  const view = new MeshState();
  await using path = await startKernelPath({ view, programs });
  using pod = createPodNamespace();
  await path.tables.apply(view.apply([{ kind: 'workload', workload: client }, ...updates]));
  path.tables.enrol(pod.cookie, client, false);
  const dialer = new Dialer(pod);
  try {
    return await dialer.dial(dials);
  } finally {
    await dialer.close();
  }
}

function describeResult(result: DialResult): string {
  return result.errno === undefined ? `${result.ip}|${result.port}` : `errno ${result.errno}`;
}

test('NEG-19: dual-stack services keep the family of the call', async () => {
  const answers = await dialIn(
    [
      {
        kind: 'service',
        service: service({ hostname: 'a', vips: vips('10.1.0.1', 'fd10::1'), ports: new Map([[80, 8080]]) }),
      },
      {
        kind: 'workload',
        workload: workload({
          uid: 'w1',
          addresses: ['10.2.0.1', 'fd20::1'],
          services: new Map([['default/a', new Map()]]),
        }),
      },
    ],
    ['10.1.0.1', 'fd10::1', '::ffff:10.1.0.1'].map((ip) => ({ ip, port: 80, count: 5 })),
  );
  assert.deepEqual(answers, [['10.2.0.1|8080'], ['fd20::1|8080'], ['::ffff:10.2.0.1|8080']]);
});

for (const count of [11, 30]) {
  test(`NEG-20: all ${count} ports of a service work`, async () => {
    const ports = Array.from({ length: count }, (_, index) => 1000 + index);
    const answers = await dialIn(
      [
        {
          kind: 'service',
          service: service({
            hostname: 'a',
            vips: vips('10.1.0.1'),
            ports: new Map(ports.map((port) => [port, port + 1000])),
          }),
        },
        {
          kind: 'workload',
          workload: workload({
            uid: 'w1',
            addresses: ['10.2.0.1'],
            services: new Map([['default/a', new Map()]]),
          }),
        },
      ],
      ports.map((port) => ({ ip: '10.1.0.1', port, count: 2 })),
    );
    assert.deepEqual(
      answers,
      ports.map((port) => [`10.2.0.1|${port + 1000}`]),
    );
  });
}

test('NEG-20: a workload in 11 services is reached through each of them', async () => {
  const names = Array.from({ length: 11 }, (_, index) => `s${index}`);
  const answers = await dialIn(
    [
      ...names.map(
        (hostname, index): MeshUpdate => ({
          kind: 'service',
          service: service({
            hostname,
            vips: vips(`10.1.0.${index + 1}`),
            ports: new Map([[80, 8080 + index]]),
          }),
        }),
      ),
      {
        kind: 'workload',
        workload: workload({
          uid: 'w1',
          addresses: ['10.2.0.1'],
          services: new Map(names.map((name) => [`default/${name}`, new Map()])),
        }),
      },
    ],
    names.map((_, index) => ({ ip: `10.1.0.${index + 1}`, port: 80, count: 2 })),
  );
  assert.deepEqual(
    answers,
    names.map((_, index) => [`10.2.0.1|${8080 + index}`]),
  );
});

test('NEG-21: each endpoint is reached on its own target port', async () => {
  const endpoint = (number: number): MeshUpdate => ({
    kind: 'workload',
    workload: workload({
      uid: `w${number}`,
      addresses: [`10.2.0.${number}`],
      services: new Map([['default/a', new Map([[80, 8000 + number]])]]),
    }),
  });
  const answers = await dialIn(
    [
      {
        kind: 'service',
        service: service({ hostname: 'a', vips: vips('10.1.0.1'), ports: new Map([[80, 0]]) }),
      },
      endpoint(1),
      endpoint(2),
      endpoint(3),
    ],
    [{ ip: '10.1.0.1', port: 80, count: 200 }],
  );
  assert.deepEqual(answers, [['10.2.0.1|8001', '10.2.0.2|8002', '10.2.0.3|8003']]);
});

test('NEG-24: a service named waypoint and one with port 15021 are balanced like any other', async () => {
  const answers = await dialIn(
    [
      {
        kind: 'service',
        service: service({
          hostname: 'shop-waypoint',
          vips: vips('10.1.0.1'),
          ports: new Map([[15021, 15021]]),
        }),
      },
      {
        kind: 'workload',
        workload: workload({
          uid: 'w1',
          addresses: ['10.2.0.1'],
          services: new Map([['default/shop-waypoint', new Map()]]),
        }),
      },
    ],
    [{ ip: '10.1.0.1', port: 15021, count: 5 }],
  );
  assert.deepEqual(answers, [['10.2.0.1|15021']]);
});

test('a known address without usable endpoint or with an undeclared port is refused, an unknown one not changed', async () => {
  const answers = await dialIn(
    [
      {
        kind: 'service',
        service: service({ hostname: 'a', vips: vips('10.1.0.1'), ports: new Map([[80, 8080]]) }),
      },
    ],
    [
      { ip: '10.1.0.1', port: 80, count: 3 },
      { ip: '10.1.0.1', port: 81, count: 3 },
      { ip: '192.0.2.1', port: 80, count: 3 },
    ],
  );
  assert.deepEqual(answers, [[`errno ${ECONNREFUSED}`], [`errno ${ECONNREFUSED}`], ['192.0.2.1|80']]);
});

test('LBA-09: weights hold within 2 % over 20,000 connections, and 0 is never chosen', async () => {
  const weights = [0, 1, 1, 2];
  const updates: MeshUpdate[] = weights.map((capacity, index) => ({
    kind: 'workload',
    workload: workload({
      uid: `w${index}`,
      addresses: [`10.2.0.${index}`],
      capacity,
      services: new Map([['default/a', new Map()]]),
    }),
  }));
  const total = 20_000;
  const [results = []] = await dialRaw(
    [
      {
        kind: 'service',
        service: service({ hostname: 'a', vips: vips('10.1.0.1'), ports: new Map([[80, 8080]]) }),
      },
      ...updates,
    ],
    [{ ip: '10.1.0.1', port: 80, count: total }],
  );
  const counts = weights.map((_, index) => results.filter(({ ip }) => ip === `10.2.0.${index}`).length);
  assert.equal(counts[0], 0);
  for (const [index, weight] of weights.entries()) {
    assert.ok(Math.abs((counts[index] ?? 0) / total - weight / 4) < 0.02, `${counts}`);
  }
});

test(`${CHANGES} changes of endpoints and weights while 64 clients dial: no connection fails or reaches a removed endpoint`, async () => {
  const view = new MeshState();
  await using path = await startKernelPath({ view, programs });
  using pod = createPodNamespace();
  const endpoint = (number: number): MeshUpdate => ({
    kind: 'workload',
    workload: workload({
      uid: `w${number}`,
      addresses: [`10.0.${number >> 8}.${number & 255}`],
      capacity: 1 + (number % 5),
      services: new Map([['default/a', new Map()]]),
    }),
  });
  await path.tables.apply(
    view.apply([
      { kind: 'workload', workload: client },
      {
        kind: 'service',
        service: service({ hostname: 'a', vips: vips('10.100.0.1'), ports: new Map([[80, 8080]]) }),
      },
      endpoint(1),
      endpoint(2),
      endpoint(3),
    ]),
  );
  path.tables.enrol(pod.cookie, client, false);

  const directory = mkdtempSync('/dev/shm/kmesh-floor-');
  const floor = openSync(`${directory}/floor`, 'w');
  const writeFloor = (lowest: number) => writeSync(floor, Uint32Array.of(lowest), 0, 4, 0);
  writeSync(floor, new Uint8Array(4096));
  const child = spawn(buildNative('dial-floor'), [pod.path, `${directory}/floor`, '10.100.0.1', '80', '64'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    // Four changes at a time share a barrier; each raises the minimum version when it is acknowledged, in order.
    for (let change = 1; change <= CHANGES; change += 4) {
      await Promise.all(
        [change, change + 1, change + 2, change + 3].map(async (number) => {
          const updates: MeshUpdate[] = [{ kind: 'removeWorkload', uid: `w${number}` }, endpoint(number + 3)];
          await path.tables.apply(view.apply(updates));
          writeFloor(number + 1);
        }),
      );
    }
    child.stdin.end();
    await once(child, 'close');
    const [dials = 0, failed, belowFloor] = output.trim().split(' ').map(Number);
    assert.ok(dials > 10 * CHANGES, output);
    assert.equal(failed, 0, `${output}: failed`);
    assert.equal(belowFloor, 0, `${output}: reached a removed endpoint`);
  } finally {
    child.kill();
    closeSync(floor);
    rmSync(directory, { recursive: true });
  }
});
