import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { createLab, type Host, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { exchange } from '@kmesh/lab/testing/traffic/echo.ts';

interface Target {
  readonly pod: Pod;
  readonly family: 'v4' | 'v6';
  readonly port: number;
}

const ports = [8080, 8081] as const;

let lab: Lab;
let mesh: LabMesh;
let outside: Host;
const clients = new Map<string, Pod>();
const servers = new Map<string, Pod>();

before(async () => {
  lab = await createLab();
  await lab.node();
  mesh = await startMesh(lab, { kernelPath: false });
  outside = await lab.outsideHost();
  for (const variant of ['iptables', 'nftables'] as const) {
    const { pod } = await mesh.pod({ name: variant, captured: { variant } });
    for (const port of ports) await pod.serve({ port, mode: 'double' });
    servers.set(variant, pod);
    clients.set(variant, (await mesh.pod({ name: `${variant}-client`, captured: { variant } })).pod);
  }
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

/** Connects from one port of a host to several endpoints at once; a handshake that is retransmitted takes a second. */
async function connectAll(from: Host, localPort: number, targets: readonly Target[]): Promise<Socket[]> {
  return await Promise.all(
    targets.map(({ pod, family, port }) => {
      const to = { host: pod.addresses[family], port, timeoutMs: 900 };
      return from.connect({ ...to, localAddress: from.addresses[family], localPort });
    }),
  );
}

async function exchangeAll(sockets: readonly Socket[]): Promise<void> {
  for (const socket of sockets) await exchange(socket);
  assert.equal(new Set(sockets.map(({ localPort }) => localPort)).size, 1);
}

for (const variant of ['iptables', 'nftables']) {
  for (const family of ['v4', 'v6'] as const) {
    test(`two connections from one port of a client to two ports of a pod are both served (${variant}, IP${family})`, async () => {
      const pod = servers.get(variant) as Pod;
      const [one, other] = ports.map((port) => ({ pod, family, port })) as [Target, Target];
      const [first] = (await connectAll(outside, 34_567, [one])) as [Socket];
      await exchange(first);
      const [second] = (await connectAll(outside, 34_567, [other])) as [Socket];
      await exchangeAll([first, second, first]);
      for (const socket of [first, second]) socket.resetAndDestroy();
      for (let localPort = 34_568; localPort < 34_576; localPort++) {
        const sockets = await connectAll(outside, localPort, [one, other]);
        await exchangeAll(sockets);
        for (const socket of sockets) socket.resetAndDestroy();
      }
    });

    test(`two connections from one port of a captured pod to two pods are both served (${variant}, IP${family})`, async () => {
      const targets = [...servers.values()].flatMap((pod) => ports.map((port) => ({ pod, family, port })));
      for (let localPort = 34_576; localPort < 34_584; localPort++) {
        const sockets = await connectAll(clients.get(variant) as Pod, localPort, targets);
        await exchangeAll(sockets);
        for (const socket of sockets) socket.resetAndDestroy();
      }
    });
  }
}
