import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from '@kmesh/api/testing';
import { layoutOf, pinnedNode, SHOP, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import {
  attachedProgramIds,
  attachedPrograms,
  type BpfObject,
  createMap,
  enableProgramStatistics,
  openNetworkNamespace,
  openPinnedMap,
} from '@kmesh/linux';

const hooks = { sockops: 3, connect4: 10, connect6: 11, getpeername4: 29, getpeername6: 30 } as const;
const main = fileURLToPath(new URL('../../packages/kmesh/src/main.ts', import.meta.url));

function uninstall(pins: string): void {
  execFileSync(process.execPath, [main, 'uninstall'], { env: { ...process.env, KMESH_PINS: pins } });
}

test('BPF-10: pins that do not match their names are replaced: foreign maps and links, swapped pods, an incomplete directory', async () => {
  await using node = await pinnedNode();
  const { lab, mesh, pins, client } = node;
  const { proxy } = mesh.node();
  // Programs run before they are pinned: two for each of three pods.
  await eventually('every pod is pinned', () => readdirSync(`${pins}/pods`).length === 6);
  proxy.kill('SIGKILL');
  await proxy.ended;

  using foreign = await loadEmptyProgram();
  const flows = layoutOf(pins, 'flows');
  const handshakes = layoutOf(pins, 'handshakes');
  // The right name, another size; another name, the right size; a map where a link belongs, and the other way round.
  pinForeignMap('connections', 4, 4, `${handshakes}/map-connections`);
  pinForeignMap('somebodys', 4, 64, `${handshakes}/map-dials`);
  pinForeignMap('kmesh_connect6', 4, 4, `${pins}/links/kmesh_connect6`);
  rmSync(`${pins}/links/kmesh_peer4`);
  const alien = foreign.program('empty_connect4').attachCgroup(lab.cgroup);
  alien.pin(`${pins}/links/kmesh_peer4`);
  rmSync(`${flows}/map-flows`);
  foreign.program('empty_connect4').pin(`${flows}/map-flows`);
  // Incomplete pins, as of a daemon that died early.
  rmSync(`${flows}/map-counters`);
  rmSync(`${pins}/links/kmesh_sockops`);
  mkdirSync(`${pins}/flows-v77-00000000`);
  // Each pod's program under another pod's name.
  const pods = readdirSync(`${pins}/pods`);
  for (const [index, name] of pods.entries()) renameSync(`${pins}/pods/${name}`, `${pins}/pods/swap${index}`);
  for (const [index] of pods.entries())
    renameSync(`${pins}/pods/swap${index}`, `${pins}/pods/${pods[(index + 1) % pods.length]}`);

  proxy.start();
  await proxy.ready();
  await takesKernelPath(mesh, client);
  for (const [hook, type] of Object.entries(hooks)) {
    const own = attachedPrograms(lab.cgroup, type).filter(({ name }) => name.startsWith('kmesh_'));
    assert.equal(own.length, 1, hook);
  }
  assert.ok(attachedPrograms(lab.cgroup, hooks.connect4).some(({ name }) => name === 'empty_connect4'));
  assert.ok(!existsSync(`${pins}/flows-v77-00000000`));
  using table = openPinnedMap(`${handshakes}/map-connections`);
  assert.equal(table.info.name, 'connections');
  assert.ok(table.info.maxEntries > 4);
  assert.match(proxy.log, /replacing a pin of an unexpected type/);
  assert.deepEqual(readdirSync(`${pins}/pods`).sort(), pods.sort());

  proxy.kill('SIGKILL');
  await proxy.ended;
  uninstall(pins);
  assert.deepEqual(
    Object.values(hooks).flatMap((type) => attachedPrograms(lab.cgroup, type).map(({ name }) => name)),
    ['empty_connect4'],
  );
  assert.ok(!existsSync(pins));
  alien.close();
});

function pinForeignMap(name: string, keySize: number, valueSize: number, path: string): void {
  rmSync(path, { force: true });
  using map = createMap({ type: 1, name, keySize, valueSize, maxEntries: 4 });
  map.pin(path);
}

test("BPF-02: other software's programs run in the same order throughout kill -9, restart and uninstall", async () => {
  using foreign = await loadEmptyProgram();
  await using node = await pinnedNode();
  const { lab, mesh, pins, client, servers } = node;
  const { proxy } = mesh.node();
  using statistics = enableProgramStatistics();
  void statistics;
  using namespace = openNetworkNamespace(servers[0].namespacePath);
  const other = foreign.program('empty_connect4').attachCgroup(lab.cgroup);
  const filter = foreign.program('empty_tc').attachTc({ device: 'eth0', direction: 'ingress', namespace });
  const order = () => attachedPrograms(lab.cgroup, hooks.connect4).map(({ name }) => name);
  assert.deepEqual(order(), ['kmesh_connect4', 'empty_connect4']);
  const long = await open(client, servers[0].addresses.v4, 8081);
  const counted = await counts(foreign, () => exchange(long));
  assert.ok(counted.tc > 0n);

  proxy.kill('SIGKILL');
  await proxy.ended;
  assert.ok((await counts(foreign, dial)).connect >= 10n);
  proxy.start();
  await proxy.ready();
  assert.deepEqual(order(), ['kmesh_connect4', 'empty_connect4']);
  await exchange(long);
  const again = await counts(foreign, dial);
  assert.ok(again.connect >= 10n && again.tc > 0n);

  proxy.kill('SIGKILL');
  await proxy.ended;
  long.destroy();
  uninstall(pins);
  assert.deepEqual(order(), ['empty_connect4']);
  const outside = await lab.outsideHost();
  const last = await counts(foreign, async () => {
    await outside.dial({ to: `${servers[0].addresses.v4}:8080`, mode: 'http', timeoutMs: 300 });
  });
  assert.ok(last.connect > 0n && last.tc > 0n);
  filter.close();
  other.close();
  assert.deepEqual(attachedProgramIds(lab.cgroup, hooks.connect4), []);

  async function dial(): Promise<void> {
    assert.equal((await client.dial({ to: SHOP, mode: 'http', connections: 10 })).failed, 0);
  }
});

/** Returns how often the other software's programs ran meanwhile. */
async function counts(
  foreign: BpfObject,
  act: () => Promise<void>,
): Promise<{ connect: bigint; tc: bigint }> {
  const read = () => ({
    connect: foreign.program('empty_connect4').info().runCount,
    tc: foreign.program('empty_tc').info().runCount,
  });
  const before = read();
  await act();
  const after = read();
  return { connect: after.connect - before.connect, tc: after.tc - before.tc };
}
