import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startFakeCniAgent } from '../src/cni/fake-cni-agent.ts';
import { STATE_DIRECTORY } from '../src/network/bpffs.ts';
import { cgroupRoot } from '../src/network/cgroups.ts';
import { sweep } from '../src/network/cleanup.ts';
import { runCommand } from '../src/network/commands.ts';
import { createLab } from '../src/network/lab.ts';

const OWNER = fileURLToPath(new URL('./fixtures/lab-owner.ts', import.meta.url));

interface Leftovers {
  readonly namespaces: string[];
  readonly cgroups: string[];
  readonly mounts: string[];
  readonly pins: string[];
  readonly links: string[];
  readonly processes: string[];
}

const nothing: Leftovers = { namespaces: [], cgroups: [], mounts: [], pins: [], links: [], processes: [] };

/** Returns everything on this machine that has the name of a lab of process `pid`. */
async function leftoversOf(pid: number | undefined): Promise<Leftovers> {
  const mark = `kmlab-${pid}-`;
  const list = (path: string) =>
    existsSync(path) ? readdirSync(path).filter((name) => name.startsWith(mark)) : [];
  const processes = readdirSync('/proc').filter((id) => {
    try {
      return /^\d+$/.test(id) && readFileSync(`/proc/${id}/cmdline`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  });
  const links = (await runCommand('ip', ['-o', 'link'])).stdout
    .split('\n')
    .filter((line) => line.includes('kmlab'));
  return {
    namespaces: list('/run/netns'),
    cgroups: list(cgroupRoot()),
    mounts: readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(mark)),
    pins: [...list('/run/kmesh-lab'), ...list('/sys/fs/bpf')],
    links,
    processes,
  };
}

/** Starts a process that creates a lab with pods, servers and pins, and then ends as requested. */
async function startOwner(ending: string): Promise<{ child: ChildProcess; servers: number[] }> {
  const child = spawn(process.execPath, [OWNER, ending], { stdio: ['pipe', 'pipe', 'pipe'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, servers: (JSON.parse(line) as { servers: number[] }).servers };
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

test('a lab that is closed leaves nothing behind', async () => {
  const lab = await createLab();
  const node = await lab.node();
  const pod = await node.pod({ name: 'pod' });
  await pod.serve({ port: 80 });
  const sleeping = pod.spawn('sleep', ['100']);
  const pins = await lab.bpffs();
  assert.ok(existsSync(pins));
  assert.ok(existsSync(startFakeCniAgent(lab).path));
  await lab.close();
  assert.ok(sleeping.pid !== undefined && !isAlive(sleeping.pid));
  assert.deepEqual(await leftoversOf(process.pid), nothing);
  await lab.close();
});

test('a removed pod leaves nothing behind, and its node continues', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const [stays, goes] = [await node.pod({ name: 'stays' }), await node.pod({ name: 'goes' })];
  await goes.serve({ port: 80 });
  node.removePod(goes);
  assert.ok(!existsSync(goes.cgroup) && !existsSync(goes.namespacePath));
  const report = await stays.dial({ to: `${goes.addresses.v4}:80`, timeoutMs: 300 });
  assert.equal(report.failed, 1);
  assert.deepEqual(
    node.pods.map((pod) => pod.name),
    ['stays'],
  );
});

for (const [ending, outcome] of [
  ['returns without closing it', { code: 0, signal: null }],
  ['throws', { code: 1, signal: null }],
  ['is ended by SIGTERM', { code: null, signal: 'SIGTERM' }],
] as const) {
  test(`a process that ${ending} leaves nothing of its lab behind`, async () => {
    const { child, servers } = await startOwner(ending);
    const exit = once(child, 'exit');
    if (ending === 'is ended by SIGTERM') child.kill('SIGTERM');
    else child.stdin?.end();
    assert.deepEqual(await exit, [outcome.code, outcome.signal]);
    assert.deepEqual(servers.filter(isAlive), []);
    assert.deepEqual(await leftoversOf(child.pid), nothing);
  });
}

test('after kill -9 the processes end at once, and the next lab removes the rest', async () => {
  // Labs of concurrent tests clean up too, possibly before this test has checked.
  for (let attempt = 1, seen = false; !seen; attempt++) {
    const { child } = await startOwner('waits');
    assert.deepEqual(
      sweep().filter((name) => name.startsWith(`kmlab-${child.pid}-`)),
      [],
      'a lab in use is never swept',
    );
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    const { namespaces, cgroups, mounts, pins, processes } = await leftoversOf(child.pid);
    assert.deepEqual(processes, []);
    const left = [namespaces.length, cgroups.length, mounts.length > 0, pins.length];
    seen = String(left) === '3,1,true,1';
    assert.ok(seen || attempt < 5, `namespaces, cgroups, mounts, pins: ${left}`);
    const lab = await createLab();
    await lab.close();
    assert.deepEqual(await leftoversOf(child.pid), nothing);
  }
});

test('processes that clean up at the same time do not disturb each other', async () => {
  // No process has this id and start time, so these are leftovers of a killed one.
  for (let lab = 1; lab <= 200; lab++) {
    const directory = `${STATE_DIRECTORY}/kmlab-${process.pid}-0-${lab}/bpf`;
    mkdirSync(directory, { recursive: true });
    for (const name of ['zds1.sock', 'zds2.sock']) writeFileSync(`${directory}/${name}`, '');
  }
  const cleanup = new URL('../src/network/cleanup.ts', import.meta.url).href;
  const code = `import { sweep } from '${cleanup}'; process.send(0); process.once('message', () => { sweep(); process.exit(0); });`;
  const sweepers = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      });
      await once(child, 'message');
      return child;
    }),
  );
  const exits = sweepers.map((child) => once(child, 'exit'));
  for (const child of sweepers) child.send(0);
  assert.deepEqual(
    await Promise.all(exits),
    sweepers.map(() => [0, null]),
  );
  const left = existsSync(STATE_DIRECTORY) ? readdirSync(STATE_DIRECTORY) : [];
  assert.deepEqual(
    left.filter((name) => name.startsWith(`kmlab-${process.pid}-0-`)),
    [],
  );
});
