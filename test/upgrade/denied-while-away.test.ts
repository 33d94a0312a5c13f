/** Policies that deny while no daemon runs, and every kind of start of the next one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { commandOf, exportMachinePath } from '@kmesh/lab';
import {
  buildOther,
  type OtherBuild,
  otherFlows,
  otherHandshakes,
} from '@kmesh/lab/testing/daemon/other-build.ts';
import { type PinnedNode, pinnedNode, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { attempt, echo, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';

const denial = policy('Deny', {
  principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
});

interface Start {
  readonly signal?: NodeJS.Signals;
  /** Settings of the next daemon. */
  readonly environment?: (pins: string) => Readonly<Record<string, string>>;
  /** The next daemon has the same build. */
  readonly build?: 'flows' | 'handshakes';
  /** It has neither CAP_BPF nor CAP_SYS_ADMIN, and no access to pins and pods. */
  readonly withoutRight?: boolean;
  /** The CNI agent is unreachable: the pods are not reported. */
  readonly withoutAgent?: boolean;
  /** Expected outcome of a live connection that stays allowed. */
  readonly allowed: 'continues' | 'continues or ends';
}

const starts: Readonly<Record<string, Start>> = {
  'with the same pins, after kill -9': { allowed: 'continues' },
  'with the same pins, after a drain': { signal: 'SIGTERM', allowed: 'continues' },
  'of a version with other flows': { build: 'flows', allowed: 'continues' },
  'of a version with other handshakes': { build: 'handshakes', allowed: 'continues or ends' },
  'without pins': { environment: () => ({ KMESH_PINS: '' }), allowed: 'continues or ends' },
  'with the pins of another instance': {
    environment: (pins) => ({ KMESH_PINS: join(dirname(pins), 'another') }),
    allowed: 'continues or ends',
  },
  'without a kernel path': {
    environment: () => ({ KMESH_KERNEL_PATH: 'false' }),
    allowed: 'continues or ends',
  },
  'without a kernel path and without pins': {
    environment: () => ({ KMESH_KERNEL_PATH: 'false', KMESH_PINS: '' }),
    allowed: 'continues or ends',
  },
  'with an unusable KMESH_CGROUP': {
    environment: () => ({ KMESH_CGROUP: '/sys/kernel' }),
    allowed: 'continues or ends',
  },
  'without the privilege for BPF': { withoutRight: true, allowed: 'continues or ends' },
  'before its CNI agent': { withoutAgent: true, allowed: 'continues or ends' },
};

/** Waits until the started daemon has acknowledged the policy. */
async function acknowledged({ mesh }: PinnedNode, earlier: ReadonlySet<number>): Promise<void> {
  await mesh.istiod.waitFor(
    'answers of the next daemon',
    () => {
      const streams = mesh.istiod.connections.filter(({ id }) => !earlier.has(id));
      return streams.some(
        ({ typeUrls, outstanding }) =>
          typeUrls.some((url) => /Authorization/.test(url)) &&
          typeUrls.some((url) => /Address/.test(url)) &&
          outstanding === 0,
      );
    },
    15_000,
  );
}

/** A program that runs another one without the capabilities for BPF and for namespaces. */
function withoutRight(directory: string, executable: string): string {
  const path = join(directory, 'kmesh');
  const command = commandOf(executable).flat().join(' ');
  const shell = `#!/bin/sh\n${exportMachinePath()}\nexec setpriv --bounding-set=-bpf,-sys_admin -- ${command} "$@"\n`;
  writeFileSync(path, shell, { mode: 0o755 });
  return path;
}

async function ends(socket: Socket): Promise<boolean> {
  return exchange(socket).then(
    () => false,
    () => true,
  );
}

describe('a policy that arrives while no daemon runs', () => {
  const builds: Partial<Record<'flows' | 'handshakes', OtherBuild>> = {};

  const directory = mkdtempSync(join(tmpdir(), 'kmesh-away-'));
  after(() => rmSync(directory, { recursive: true, force: true }));
  before(() => {
    builds.flows = buildOther(otherFlows);
    builds.handshakes = buildOther(otherHandshakes);
  });

  for (const [how, start] of Object.entries(starts)) {
    test(`NEG-26, NEG-10: ends live connections and denies new ones once a daemon that starts ${how} has acknowledged it`, async () => {
      await using scene = await pinnedNode(start.withoutRight ? { KMESH_LEASE: '10s' } : {});
      const { mesh, pins, client, servers } = scene;
      const [server] = servers;
      const { v4 } = server.addresses;
      const { pod: friend } = await mesh.pod({ name: 'friend' });
      await takesKernelPath(mesh, friend);
      const { proxy, agent } = mesh.node();
      // A client without an attested identity is allowed while the daemon runs.
      await mesh.apply(without(strict));
      await untilTablesFollow(mesh);
      const outside = await scene.lab.outsideHost();
      const live = await open(client, v4, 8081);
      const stranger = await open(outside, v4, 8081);
      const kept = await open(friend, v4, 8081);
      for (const socket of [live, stranger, kept]) await exchange(socket);

      proxy.kill(start.signal ?? 'SIGKILL');
      await proxy.ended;
      const earlier = new Set(mesh.istiod.connections.map(({ id }) => id));
      for (const socket of [live, stranger, kept]) await exchange(socket);
      if (start.withoutAgent) await agent.close();
      mesh.istiod.update([denial, strict]);
      if (start.withoutRight) proxy.executable = withoutRight(directory, proxy.executable);
      proxy.executable = (start.build && builds[start.build]?.main) ?? proxy.executable;
      proxy.start(start.environment?.(pins));
      if (start.withoutRight) {
        // The first start has removed some pins: the next must not treat the remaining ones as up to date.
        await eventually('the first start has attempted it', () =>
          proxy.log.includes('may stay active until their lease expires'),
        );
        proxy.kill('SIGKILL');
        await proxy.ended;
        for (const { id } of mesh.istiod.connections) earlier.add(id);
        proxy.start();
      }
      await acknowledged(scene, earlier);

      const dialled = await attempt(client, v4, 8081, 'hello', 2_000);
      assert.deepEqual([dialled.how === 'open', dialled.bytes], [false, '']);
      // If the lease has not ended, the response was acknowledged too early.
      const patience = start.withoutRight ? 1_000 : 5_000;
      await eventually('the live connection has ended', () => ends(live), patience);
      await eventually('the stranger’s has ended', () => ends(stranger), patience);
      assert.equal((await attempt(outside, v4, 8081, 'hello', 2_000)).bytes, '');
      const keptEnded = await ends(kept);
      if (start.allowed === 'continues') assert.equal(keptEnded, false);
      if (!start.withoutAgent && !start.withoutRight) {
        await proxy.ready();
        await eventually('allowed clients are served', () =>
          echo(friend, v4, 8081).then(
            () => true,
            () => false,
          ),
        );
      }
      for (const socket of [live, stranger, kept]) socket.destroy();
    });
  }
});
