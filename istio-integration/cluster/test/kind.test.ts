import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { parse } from 'yaml';

const folder = mkdtempSync(join(tmpdir(), 'kmesh-kind-'));
after(() => rmSync(folder, { recursive: true }));
// The place of the state is read once, at import.
process.env['KMESH_CLUSTER_CACHE'] = join(folder, 'cache');
const { cluster } = await import('../commands.ts');
const { kindConfiguration, startKindCluster } = await import('../kind/cluster.ts');
const { clusterNodes } = await import('../kind/nodes.ts');
const { parseOptions } = await import('../options.ts');

/** A fake kind with its messages and exit codes: uses podman only if requested, and refuses to create a cluster twice. */
const kind = `#!/bin/sh
state=${folder}/state
echo "kind $*" >>$state/log
fail() { echo "ERROR: $1" >&2; exit 1; }
[ "$KIND_EXPERIMENTAL_PROVIDER" = podman ] || fail 'failed to list clusters: command "docker ps" failed with error: exec: "docker": executable file not found in $PATH'
command=$1-$2
shift 2
while [ $# -gt 0 ]; do
  case $1 in
  --name) name=$2; shift ;;
  --config) config=$2; shift ;;
  --kubeconfig) kubeconfig=$2; shift ;;
  --wait) shift ;;
  *) file=$1 ;;
  esac
  shift
done
case $command in
create-cluster)
  [ ! -e $state/$name ] || fail "failed to create cluster: node(s) already exist for a cluster with the name \\"$name\\""
  mkdir $state/$name
  number=
  for role in $(sed -n 's/.*role: //p' "$config"); do
    if [ $role = control-plane ]; then
      touch $state/$name/$name-control-plane
    else
      touch $state/$name/$name-worker$number
      number=$((\${number:-1} + 1))
    fi
  done
  echo 'kind: Config' >"$kubeconfig"
  echo 'Creating cluster ...' >&2
  ;;
get-clusters)
  if [ -e $state/kmesh ]; then echo kmesh; else echo 'No kind clusters found.' >&2; fi
  ;;
load-image-archive)
  [ -e "$file" ] || fail "open $file: no such file or directory"
  [ -e $state/$name ] || fail "no nodes found for cluster \\"$name\\""
  for node in $state/$name/*; do cat "$file" >>$node; done
  ;;
delete-cluster)
  echo "Deleting cluster \\"$name\\" ..." >&2
  rm -rf $state/$name
  ;;
*) fail "unknown command \\"$command\\" for \\"kind\\"" ;;
esac
`;

/** podman, whose containers have no file system for BPF until one is mounted, and lose it when they end. */
const podman = `#!/bin/sh
state=${folder}/state
echo "podman $*" >>$state/log
[ "$1" != ps ] || exit 0
node=$state/kmesh/$2
[ -e $node ] || { echo "Error: no container with name or ID \\"$2\\" found: no such container" >&2; exit 125; }
case $1 in
exec)
  [ ! -e $node.stopped ] || { echo 'Error: can only create exec sessions on running containers: container state improper' >&2; exit 255; }
  case "$*" in
  *'mount -t bpf bpf /sys/fs/bpf') [ -e $node.bpf ] || touch $node.bpf ;;
  *) shift 2; echo "in the node: $*" ;;
  esac
  ;;
kill)
  [ ! -e $node.stopped ] || { echo "Error: can only kill running containers. $2 is in state exited" >&2; exit 125; }
  rm -f $node.bpf
  touch $node.stopped
  ;;
start) rm -f $node.stopped ;;
esac
`;

/** docker as it is on a machine without its daemon. */
const docker = `#!/bin/sh
echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2
exit 1
`;

const state = join(folder, 'state');
const kubeconfig = join(folder, 'kubeconfig');
const archive = join(folder, 'image.tar');
writeFileSync(archive, 'an image');
const programs = join(folder, 'programs');
mkdirSync(programs);
for (const [name, text] of Object.entries({ kind, podman, docker }))
  writeFileSync(join(programs, name), text, { mode: 0o755 });
// The shell's own programs, and no container engine of this machine.
process.env['PATH'] = programs;
for (const name of ['cat', 'mkdir', 'rm', 'sed', 'touch'])
  writeFileSync(join(programs, name), `#!/bin/sh\nPATH=/usr/bin:/bin exec ${name} "$@"\n`, { mode: 0o755 });

beforeEach(() => {
  rmSync(state, { recursive: true, force: true });
  mkdirSync(state);
});

const start = (): Promise<void> => startKindCluster({ nodes: 2, archives: [archive], kubeconfig });
const below = (pattern: RegExp): string[] =>
  readdirSync(join(state, 'kmesh')).filter((name) => pattern.test(name));

test('kind creates a control-plane node and nodes with a zone each, with a BPF file system and the images', async () => {
  await start();
  const names = ['kmesh-worker', 'kmesh-worker2'];
  const configuration = parse(kindConfiguration(2)) as { nodes: { role: string; labels?: object }[] };
  assert.deepEqual(
    configuration.nodes.map(({ role, labels }) => [role, Object.values(labels ?? {})[1]]),
    [['control-plane', undefined], ...names.map((name) => ['worker', name])],
  );
  assert.deepEqual(clusterNodes().names, names);
  assert.deepEqual(
    below(/\.bpf$/),
    names.map((name) => `${name}.bpf`),
  );
  for (const name of names) assert.equal(readFileSync(join(state, 'kmesh', name), 'utf8'), 'an image');
  assert.ok(existsSync(kubeconfig));
});

test('a command in a node returns its output, and a failure its reason', async () => {
  await start();
  assert.equal(await clusterNodes().run('kmesh-worker', ['ls', '/']), 'in the node: ls /\n');
  await assert.rejects(clusterNodes().run('another', ['ls']), /no container with name or ID "another"/);
  await assert.rejects(clusterNodes().load(join(folder, 'nothing.tar')), /no such file or directory/);
});

test('a cluster of that name which nothing is known of any more is replaced', async () => {
  await start();
  rmSync(join(folder, 'cache'), { recursive: true });
  await start();
  assert.deepEqual(below(/\.bpf$/), ['kmesh-worker.bpf', 'kmesh-worker2.bpf']);
  for (const name of clusterNodes().names)
    assert.equal(readFileSync(join(state, 'kmesh', name), 'utf8'), 'an image');
});

test('a node whose power was cut runs nothing, and has its file system for BPF again when it is back', async () => {
  await start();
  const nodes = clusterNodes();
  await nodes.cutPower('kmesh-worker2');
  assert.deepEqual(below(/\.bpf$/), ['kmesh-worker.bpf']);
  await assert.rejects(nodes.run('kmesh-worker2', ['ls']), /container state improper/);
  await nodes.returnPower('kmesh-worker2');
  assert.deepEqual(below(/\.bpf$/), ['kmesh-worker.bpf', 'kmesh-worker2.bpf']);
});

test('"down" removes the cluster by kind', async () => {
  await start();
  const down = await parseOptions(['down', '--json']);
  assert.ok(down);
  assert.equal(await cluster(down), 0);
  assert.ok(!existsSync(join(state, 'kmesh')));
  assert.throws(clusterNodes, /there is no cluster/);
});

test('a command for a cluster that kind no longer has fails with a message that says so', async () => {
  await start();
  rmSync(join(state, 'kmesh'), { recursive: true });
  const use = await parseOptions(['use']);
  assert.ok(use);
  await assert.rejects(cluster(use), /parts of a cluster run, and not all/);
});
