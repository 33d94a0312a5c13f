import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { attachedProgramIds, attachedPrograms } from '../src/bpf-link.ts';
import { type BpfObject, enableProgramStatistics, openBpfObject } from '../src/bpf-object.ts';
import { capability, findBpffsMount, findCgroupMount, probeCapabilities } from '../src/capabilities.ts';
import { closeDescriptor } from '../src/descriptors.ts';
import { BpfLoadError, SystemCallError } from '../src/errors.ts';
import { createNetworkNamespace } from '../src/network-namespace.ts';
import { connectSocket, openListener } from '../src/socket.ts';
import { socketLocalAddress } from '../src/socket-options.ts';
import { compileFixture } from './compile-fixture.ts';

const connect4 = 10;
const cgroup = findCgroupMount() ?? '';
let object: BpfObject;

before(async () => {
  object = openBpfObject(compileFixture('hooks'), 'hooks');
  object.setConstant('answer', 5).setConstant('wide', 7n).setMaxEntries('entries', 2048);
  await object.load();
});

after(() => {
  object.close();
});

/** Opens one TCP connection over loopback. */
async function dial(): Promise<void> {
  const listener = openListener({ address: '127.0.0.1', port: 0 });
  try {
    closeDescriptor(await connectSocket({ address: '127.0.0.1', port: socketLocalAddress(listener).port }));
  } finally {
    closeDescriptor(listener);
  }
}

function count(slot: number): bigint {
  return new BigUint64Array(object.map('slots').mmap())[slot] ?? -1n;
}

test('programs and maps have the constants and sizes that are set before the load', () => {
  assert.equal(object.program('read_constants').testRun(new Uint8Array(64)).result, 12);
  assert.equal(object.map('entries').maxEntries, 2048);
});

test('a syscall program runs on another thread and returns its context, also if it is closed meanwhile', async () => {
  const add = object.program('add');
  const answer = await add.run(Uint8Array.of(2, 0, 0, 0, 3, 1, 0, 0, 9, 9, 9, 9));
  assert.deepEqual([...answer], [2, 0, 0, 0, 3, 1, 0, 0, 5, 1, 0, 0]);
  await assert.rejects(add.run(new Uint8Array(4)), { code: 'KMESH_BPF_RUN_FAILED', errnoName: 'EINVAL' });
  await assert.rejects(object.program('read_constants').run(new Uint8Array(12)), {
    code: 'KMESH_BPF_RUN_FAILED',
  });
  const other = openBpfObject(compileFixture('hooks'), 'hooks');
  await other.load();
  const running = other.program('add').run(Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0));
  other.close();
  assert.equal((await running)[8], 2);
});

test("a load reports on request the verifier's cost of each program, and its size in the kernel", async () => {
  using open = openBpfObject(compileFixture('hooks'), 'hooks');
  await open.load({ verifierStatistics: true });
  assert.deepEqual([...open.verifierStatistics.keys()].sort(), open.programNames.toSorted());
  for (const [name, statistics] of open.verifierStatistics) {
    const info = open.program(name).info();
    assert.equal(statistics.processedInstructions, info.verifiedInstructions);
    assert.equal(statistics.instructionLimit, 1_000_000);
    assert.ok(statistics.stackBytes.length > 0 && statistics.stackBytes.every((bytes) => bytes <= 512));
    assert.ok(info.translatedBytes > 0 && info.translatedBytes % 8 === 0 && info.machineCodeBytes > 0, name);
  }
  assert.equal(object.verifierStatistics.size, 0);
});

test('a load that fails while it is measured reports the reason', async () => {
  using open = openBpfObject(compileFixture('refused'), 'refused');
  await assert.rejects(open.load({ verifierStatistics: true }), (error: BpfLoadError) => {
    assert.equal(error.code, 'KMESH_BPF_LOAD_FAILED');
    assert.match(error.message, /invalid mem access|R\d/);
    return true;
  });
});

test("constants are found independently of the object's name", () => {
  for (const name of ['a.b', 'a.rodata', 'a name that is far longer.than the kernel keeps']) {
    using open = openBpfObject(compileFixture('hooks'), name);
    open.setConstant('answer', 5);
  }
});

test('wrong names, values and states are refused, and the error says what is allowed', async () => {
  const open = openBpfObject(compileFixture('hooks'), 'hooks');
  assert.throws(() => open.setConstant('nobody', 1), /BPF object hooks has no constant named nobody/);
  assert.throws(() => open.setConstant('refused_port', 65536), /must be a number that fits 2 bytes/);
  assert.throws(() => open.setMaxEntries('nobody', 1), { code: 'KMESH_BPF_NO_SUCH_SYMBOL' });
  assert.throws(() => open.map('slots'), /is not loaded yet/);
  open.close();
  assert.throws(() => open.setConstant('answer', 1), { code: 'KMESH_CLOSED' });
  assert.throws(() => object.setConstant('answer', 1), { code: 'KMESH_BUSY' });
  assert.throws(() => object.program('nobody'), { code: 'KMESH_BPF_NO_SUCH_SYMBOL' });
  assert.throws(() => openBpfObject(new Uint8Array(100), 'junk'), { code: 'KMESH_BPF_OPEN_FAILED' });
});

test('a program that the verifier refuses fails with a summary and the whole log', async () => {
  const refused = openBpfObject(compileFixture('refused'), 'refused');
  await assert.rejects(refused.load(), (error) => {
    assert(error instanceof BpfLoadError);
    assert.equal(error.code, 'KMESH_BPF_LOAD_FAILED');
    assert.equal(error.program, 'reads_null');
    assert.match(error.message, /R0 invalid mem access/);
    assert.match(error.message, /return \*number;/);
    assert.match(error.verifierLog, /call bpf_map_lookup_elem/);
    assert.equal(error.errnoName, 'EACCES');
    return true;
  });
});

test('a cgroup link counts connections until it is closed, beside other programs', async () => {
  const program = object.program('count_connect');
  {
    using link = program.attachCgroup(cgroup);
    assert.equal(link.info().programId, program.info().id);
    assert(attachedProgramIds(cgroup, connect4).includes(program.info().id));
    assert(attachedPrograms(cgroup, connect4).some(({ name }) => name === 'count_connect'));
    const counted = count(0);
    await dial();
    assert(count(0) > counted);
  }
  assert(!attachedProgramIds(cgroup, connect4).includes(program.info().id));
});

for (const mechanism of ['tcx', 'clsact'] as const) {
  test(`a traffic-control program sees packets inside a namespace through ${mechanism}`, async () => {
    using namespace = createNetworkNamespace();
    using link = object
      .program('count_packet')
      .attachTc({ device: 'lo', direction: 'ingress', namespace, mechanism });
    assert.equal(link.pinnable, mechanism === 'tcx');
    const counted = count(1);
    const listener = openListener({ address: '127.0.0.1', port: 0, namespace });
    const port = socketLocalAddress(listener).port;
    closeDescriptor(await connectSocket({ address: '127.0.0.1', port, namespace }));
    assert(count(1) > counted);
    link.close();
    const stopped = count(1);
    closeDescriptor(await connectSocket({ address: '127.0.0.1', port, namespace }));
    closeDescriptor(listener);
    assert.equal(count(1), stopped);
  });
}

test('an interface that does not exist is named', () => {
  assert.throws(
    () => object.program('count_packet').attachTc({ device: 'nobody0', direction: 'egress' }),
    /egress of interface nobody0: bpf failed with ENODEV/,
  );
});

test('run statistics count while they are enabled', () => {
  using _ = enableProgramStatistics();
  const program = object.program('read_constants');
  const before = program.info();
  program.testRun(new Uint8Array(64), 1000);
  const after = program.info();
  // Test runs are not attached runs; kernels differ in whether they count.
  assert(after.runCount >= before.runCount && after.runTimeNs >= before.runTimeNs);
});

test('statistics hold the time of attached runs', async () => {
  using _ = enableProgramStatistics();
  using link = object.program('count_connect').attachCgroup(cgroup);
  await dial();
  assert.equal(link.pinnable, true);
  const info = object.program('count_connect').info();
  assert(info.runCount > 0n && info.runTimeNs > 0n);
});

test('an impossible attachment is a permission or attach error with the errno', () => {
  assert.throws(
    () => object.program('count_connect').attachCgroup('/proc'),
    (error) =>
      error instanceof SystemCallError && error.code === 'KMESH_BPF_ATTACH_FAILED' && error.errno > 0,
  );
});

test('every capability of this kernel is listed once, with the kernel version that it requires', () => {
  const table = probeCapabilities({ refresh: true });
  assert.equal(new Set(table.map((row) => row.name)).size, table.length);
  for (const row of table) {
    assert.match(row.requiredKernel, /^\d+\.\d+$/);
    // These tests mount no bpffs on a machine without one.
    const expected = row.name === 'bpffs-mount' ? findBpffsMount() !== undefined : true;
    assert.equal(row.available, expected, `${row.name}: ${row.reason}`);
  }
  assert.equal(probeCapabilities(), table);
  assert.match(capability('cgroup-mount').reason, /^at \//);
});
