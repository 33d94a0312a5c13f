import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** Numbers by name, from the kernel headers of this machine. */
const systemCalls: Record<string, number> = Object.fromEntries(
  [
    ...spawnSync('cc', ['-E', '-dM', '-include', 'sys/syscall.h', '-x', 'c', '/dev/null'], {
      encoding: 'utf8',
    }).stdout.matchAll(/#define __NR_(\w+) (\d+)/g),
  ].map(([, name, number]) => [name ?? '', Number(number)]),
);

/** Calls each with invalid arguments; a denied call fails with EPERM before they are checked. */
const callAll = `
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
bad = ctypes.c_long(-1)
for name, number in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), bad, bad, bad, bad, bad, bad) != -1 or ctypes.get_errno() != 1:
        print(name, ctypes.get_errno(), file=sys.stderr)
`;

const linux = fileURLToPath(new URL('../src/index.ts', import.meta.url));

interface ThreadStatus {
  readonly effective: string;
  readonly permitted: string;
  readonly inheritable: string;
  readonly bounding: string;
  readonly noNewPrivileges: string;
}

/** Drops privileges in a process with busy threads of every kind, and returns the state of each and of a child. */
function dropIn(keep: readonly string[], wrapper: readonly string[] = []): Record<string, ThreadStatus[]> {
  const script = `
    import { dropPrivileges } from ${JSON.stringify(linux)};
    import { Worker } from 'node:worker_threads';
    import { readFileSync, readdirSync, readFile } from 'node:fs';
    import { execFileSync } from 'node:child_process';
    const workers = Array.from({ length: 3 }, () =>
      new Worker('const { parentPort } = require("node:worker_threads"); parentPort.postMessage(1); parentPort.on("message", () => {}); const end = Date.now() + 300; while (Date.now() < end);', { eval: true, execArgv: [] }));
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
    for (let n = 0; n < 8; n++) readFile('/etc/hostname', () => {});
    dropPrivileges(${JSON.stringify(keep)});
    const late = new Worker('require("node:worker_threads").parentPort.postMessage(1); setTimeout(() => {}, 200)', { eval: true, execArgv: [] });
    await new Promise((resolve) => late.once('message', resolve));
    const field = (text, name) => new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(text)?.[1];
    const status = (text) => ({ effective: field(text, 'CapEff'), permitted: field(text, 'CapPrm'), inheritable: field(text, 'CapInh'), bounding: field(text, 'CapBnd'), noNewPrivileges: field(text, 'NoNewPrivs') });
    const threads = readdirSync('/proc/self/task').map((id) => status(readFileSync('/proc/self/task/' + id + '/status', 'utf8')));
    const child = [status(execFileSync('/bin/cat', ['/proc/self/status'], { encoding: 'utf8' }))];
    console.log(JSON.stringify({ threads, child }));
    process.exit(0);
  `;
  const [program = '', ...rest] = [...wrapper, process.execPath, '--input-type=module', '-e', script];
  const result = spawnSync(program, rest, { encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Record<string, ThreadStatus[]>;
}

/** The set bits, of a hexadecimal mask of the kernel. */
function bitsOf(mask: string): number[] {
  const value = BigInt(`0x${mask}`);
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (value >> BigInt(bit)) & 1n);
}

test('every thread, and every program started later, keeps only the named capabilities', () => {
  const { threads = [], child = [] } = dropIn(['netAdmin', 'bpf']);
  assert.ok(threads.length > 8, `${threads.length} threads`);
  for (const status of [...threads, ...child]) {
    assert.deepEqual(bitsOf(status.effective), [12, 39]);
    assert.deepEqual(bitsOf(status.permitted), [12, 39]);
    assert.deepEqual(bitsOf(status.bounding), [12, 39]);
    assert.deepEqual(bitsOf(status.inheritable), []);
    assert.equal(status.noNewPrivileges, '1');
  }
});

test('a capability that the process did not have is not added', () => {
  const { threads = [], child = [] } = dropIn(
    ['netAdmin', 'bpf'],
    ['setpriv', '--bounding-set=-all,+net_admin,+kill'],
  );
  for (const status of [...threads, ...child]) assert.deepEqual(bitsOf(status.effective), [12]);
  const without = dropIn(['netAdmin'], ['setpriv', '--reuid=65534', '--clear-groups']);
  for (const status of [...(without['threads'] ?? []), ...(without['child'] ?? [])]) {
    assert.deepEqual(bitsOf(status.effective), []);
    assert.equal(status.noNewPrivileges, '1');
  }
});

test('denied system calls fail in every thread and in started programs, and allowed ones succeed', () => {
  const page = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8');
  const documented = [
    ...(/a seccomp filter(?<calls>.*)other architectures/s.exec(page)?.groups?.['calls'] ?? '').matchAll(
      /`(\w+)`/g,
    ),
  ].map(([, name]) => name);
  assert.ok(documented.length > 30);
  const script = `
    import { denySystemCalls, dropPrivileges } from ${JSON.stringify(linux)};
    import { Worker } from 'node:worker_threads';
    import { readFileSync, readdirSync } from 'node:fs';
    import { spawnSync } from 'node:child_process';
    const worker = new Worker('require("node:worker_threads").parentPort.once("message", () => {})', { eval: true, execArgv: [] });
    await new Promise((resolve) => worker.once('online', resolve));
    dropPrivileges(['sysAdmin', 'netAdmin', 'sysPtrace', 'dacOverride']);
    denySystemCalls();
    const seccomp = readdirSync('/proc/self/task').map((id) => /^Seccomp:\\s*(\\d)/m.exec(readFileSync('/proc/self/task/' + id + '/status', 'utf8'))?.[1]);
    const run = (...command) => { const { status, stderr } = spawnSync(command[0], command.slice(1), { encoding: 'utf8' }); return { status, stderr }; };
    const calls = run('/usr/bin/python3', '-c', ${JSON.stringify(callAll)}, process.argv[1]);
    console.log(JSON.stringify({ seccomp, calls,
      mount: run('mount', '-t', 'tmpfs', 'none', '/mnt'),
      network: run('unshare', '--net', 'ip', 'link', 'set', 'lo', 'up') }));
    process.exit(0);
  `;
  const numbers = JSON.stringify(documented.map((name) => [name, systemCalls[name ?? '']]));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script, numbers],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  const { seccomp, calls, mount, network } = JSON.parse(stdout);
  assert.deepEqual([...new Set(seccomp)], ['2']);
  assert.deepEqual(calls, { status: 0, stderr: '' });
  assert.notEqual(mount.status, 0);
  assert.match(mount.stderr, /permission denied|not permitted/i);
  assert.deepEqual(network, { status: 0, stderr: '' });
});
