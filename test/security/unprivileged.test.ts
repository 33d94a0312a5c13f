import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type CommandResult, createLab, type Lab, type LabMesh, type MeshPod, startMesh } from '@kmesh/lab';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { attempt, echo } from '@kmesh/lab/testing/traffic/echo.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { findCgroupMount } from '@kmesh/linux';

/** Default capabilities of a container. */
const containerCapabilities = [
  ...['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service'],
  ...['net_raw', 'sys_chroot', 'mknod', 'audit_write', 'setfcap'],
];

let lab: Lab;
let mesh: LabMesh;
let pins: string;
let member: MeshPod;
let server: MeshPod;

before(async () => {
  lab = await createLab();
  await lab.node();
  pins = join(await lab.bpffs(), 'kmesh');
  mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_PINS: pins } });
  member = await mesh.pod({ name: 'member', captured: { variant: 'nftables' } });
  server = await mesh.pod({ name: 'server' });
  await server.pod.serve({ port: 8080, mode: 'double' });
  const pinned = () => filesOf(pins).filter((file) => file.includes('/pods/')).length;
  // Both sides of each pod's interface.
  await mesh.node().proxy.until('both pods are pinned', () => pinned() === 4);
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

/** The user nobody of the pod, in the node's mount namespace, where the pins are visible. */
const nobody = [
  'setpriv',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
  '--inh-caps=-all',
  '--bounding-set=-all',
];

/** Root of a container: without the node's file systems, with the capabilities of a container. */
function containerRoot(): string[] {
  const kept = containerCapabilities.map((name) => `+${name}`).join(',');
  const script = 'mount -t tmpfs none "$1" && mount -o remount,bind,ro "$2" && shift 2 && exec "$@"';
  const mounts = ['unshare', '-m', 'sh', '-c', script, 'sh', join(pins, '..'), findCgroupMount() ?? ''];
  return [...mounts, 'setpriv', '--inh-caps=-all', `--bounding-set=-all,${kept}`];
}

function run(actor: readonly string[], ...command: readonly string[]): Promise<CommandResult> {
  const [program = '', ...parameters] = [...actor, ...command];
  return member.pod.run(program, parameters, { check: false });
}

/** Everything of Kmesh in the pod and at the hooks. */
async function ours(): Promise<string> {
  const rules = await member.pod.run('nft', ['list', 'table', 'inet', 'kmesh']);
  const programs = await member.pod.run('tc', ['filter', 'show', 'dev', 'eth0', 'ingress']);
  return [rules.stdout, programs.stdout, ...filesOf(pins)].join('\n');
}

function filesOf(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
}

for (const [what, actor, mayMark] of [
  ['an unprivileged process', () => nobody, false],
  // Since Linux 5.17 CAP_NET_RAW may set marks, and dial from foreign addresses: rows of the matrix test that this
  // admits nothing.
  ['root of an ordinary container', containerRoot, true],
] as const) {
  test(`${what} of a pod cannot reach the mark, the tables or the hooks`, async () => {
    const before = await ours();
    assert.match(before, /notrack/);
    const files = filesOf(pins);
    assert.ok(files.length > 5, 'there are pins to try');

    const result = await run(
      actor(),
      buildNative('intrude', new URL('native/', import.meta.url)),
      lab.cgroup,
      ...files,
    );
    const attempts = result.stdout
      .trim()
      .split('\n')
      .map((line) => line.split(': '));
    assert.ok(attempts.length > 10 + 3 * files.length, `${result.stdout}${result.stderr}`);
    const done = attempts.filter(([, how]) => how === 'done').map(([name = '']) => name);
    const harmless = mayMark ? [/^set the mark( on IPv6)?$/, /^be transparent$/] : [];
    assert.deepEqual(
      done.filter((name) => !harmless.some((pattern) => pattern.test(name))),
      [],
    );

    for (const command of [
      ['nft', 'delete', 'table', 'inet', 'kmesh'],
      ['nft', 'flush', 'ruleset'],
      ['nft', 'list', 'table', 'inet', 'kmesh'],
      ['tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact'],
      ['tc', 'filter', 'del', 'dev', 'eth0', 'ingress'],
      ['ip', 'link', 'set', 'eth0', 'name', 'eth1'],
      ['ip', 'address', 'add', server.pod.addresses.v4, 'dev', 'lo'],
      ['ip', 'rule', 'add', 'from', 'all', 'lookup', 'local'],
    ]) {
      const { code } = await run(actor(), ...command);
      assert.notEqual(code, 0, command.join(' '));
    }
    assert.equal(await ours(), before);

    // The pod still has its identity: served under STRICT, and refused if that identity is denied.
    await mesh.apply(strict);
    await echo(member.pod, server.pod.addresses.v4);
    const principals = [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-member' }] as const;
    const denied = policy('Deny', { principals });
    await mesh.apply(denied);
    assert.equal((await attempt(member.pod, server.pod.addresses.v6, 8080)).bytes, '');
    await mesh.apply(without(denied), without(strict));
  });
}
