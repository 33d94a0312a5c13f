import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cgroupDirectory,
  cgroupObstacle,
  findBpffsMount,
  findCgroupMount,
  listMounts,
} from '../src/capabilities.ts';
import { summarizeVerifierLog } from '../src/errors.ts';

const hybrid = `25 30 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
27 25 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 30 0:27 /kubepods /mnt/part\\040one rw - cgroup2 cgroup2 rw
40 30 0:40 / /mnt/bpf rw - bpf none rw
41 30 0:41 / /sys/fs/bpf ro - bpf none rw
`;

test('cgroup v2 is found beside v1, whole mounts preferred to parts', () => {
  assert.equal(findCgroupMount(listMounts(hybrid)), '/sys/fs/cgroup/unified');
  const part = listMounts(hybrid).filter((mount) => mount.root !== '/');
  assert.equal(findCgroupMount(part), '/mnt/part one');
  assert.equal(findCgroupMount([]), undefined);
});

test('a read-only bpffs does not count', () => {
  assert.equal(findBpffsMount(listMounts(hybrid)), '/mnt/bpf');
});

test('the summary of a log leaves instructions, registers and statistics out', () => {
  const log = `libbpf: prog 'p': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; return *number; @ p.bpf.c:20
7: (79) r0 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0
-- END PROG LOAD LOG --
libbpf: prog 'p': failed to load: -EACCES
libbpf: failed to load object 'o'
`;
  const expected = `R0 invalid mem access 'map_value_or_null'; at "return *number; @ p.bpf.c:20"`;
  assert.equal(summarizeVerifierLog(log), expected);
  assert.equal(summarizeVerifierLog(''), '');
});

test('a cgroup of only this container is distinguished from one with other pods', () => {
  const at = (root: string, point: string) =>
    listMounts(`30 24 0:26 ${root} ${point} rw,nosuid - cgroup2 cgroup2 rw`);
  const part = () => false;
  const obstacle = (directory: string, root: string, own: string, holdsOthers = false) =>
    cgroupObstacle(directory, at(root, '/host/cgroup'), own, part, () => holdsOthers);
  // Any mount of the whole hierarchy is suitable, and so is a mount of the host in a cgroup namespace.
  assert.equal(
    cgroupObstacle('/host/cgroup/pods', at('/', '/host/cgroup'), '/', () => true),
    undefined,
  );
  assert.equal(obstacle('/host/cgroup', '/../../..', '/'), undefined);
  assert.equal(obstacle('/host/cgroup', '/kubepods', '/kubepods/pod1/proxy'), undefined);
  for (const [directory, root, own] of [
    ['/host/cgroup', '/', '/'],
    ['/host/cgroup/part', '/', '/init'],
    ['/host/cgroup', '/kubepods/pod1/proxy', '/kubepods/pod1/proxy'],
    ['/host/cgroup/part', '/kubepods/pod1/proxy', '/kubepods/pod1/proxy'],
  ] as const)
    assert.match(obstacle(directory, root, own) ?? '', /own part of the cgroups/, `${directory} of ${root}`);
  // A node in its own cgroup namespace: the root is not a container's.
  assert.equal(obstacle('/host/cgroup', '/', '/kubepods/pod1/proxy', true), undefined);
  for (const [root, own] of [
    ['/', '/'],
    ['/', '/elsewhere'],
    ['/kubepods/pod1/proxy', '/kubepods/pod1/proxy'],
  ] as const)
    assert.match(obstacle('/host/cgroup/part', root, own, true) ?? '', /own part of the cgroups/);
  assert.match(cgroupObstacle('/elsewhere', at('/', '/host/cgroup'), '/', part) ?? '', /not in a cgroup v2/);
});

test('a directory of cgroup v1 and v2 mounts resolves to the v2 mount', () => {
  const mounts = listMounts(
    [
      '30 24 0:26 / /host/cgroup rw - tmpfs tmpfs rw',
      '31 30 0:27 / /host/cgroup/memory rw - cgroup cgroup rw,memory',
      '32 30 0:28 / /host/cgroup/unified rw - cgroup2 cgroup2 rw',
    ].join('\n'),
  );
  for (const [directory, expected] of [
    ['/host/cgroup', '/host/cgroup/unified'],
    ['/host/cgroup/unified', '/host/cgroup/unified'],
    ['/host/cgroup/unified/kubepods', '/host/cgroup/unified/kubepods'],
    ['/host/cgroup/memory', '/host/cgroup/memory'],
    ['/elsewhere', '/elsewhere'],
  ] as const)
    assert.equal(cgroupDirectory(directory, mounts), expected);
});
