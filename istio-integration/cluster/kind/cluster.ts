import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import type { Nodes } from '../bare/nodes.ts';
import { writeState } from '../bare/state.ts';
import { containerEngine, findProgram, firstOfUse } from '../needed.ts';
import { clusterFolder } from '../paths.ts';

const execute = promisify(execFile);

/** The name of the cluster among those of kind on this machine. */
export const kindName = 'kmesh';
const CREATE_MS = 600_000;
const COMMAND_MS = 180_000;

let found: string | undefined;

/** Returns the container engine with which kind creates nodes; if none answers, the one whose error is reported. */
function engine(): string {
  found ??= firstOfUse(containerEngine) ?? containerEngine.at;
  return found;
}

async function run(
  program: string,
  args: readonly string[],
  { timeoutMs = COMMAND_MS }: { readonly timeoutMs?: number } = {},
): Promise<string> {
  const { stdout } = await execute(program, args, {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
    // Without any, kind uses docker and only reports that it is missing.
    env: { ...process.env, KIND_EXPERIMENTAL_PROVIDER: engine() },
  });
  return stdout;
}

/** The names that kind gives to the nodes for pods. */
function namesOf(nodes: number): string[] {
  return Array.from(
    { length: nodes },
    (_, index) => `${kindName}-worker${index === 0 ? '' : `${index + 1}`}`,
  );
}

/** kind's configuration: a node for the control plane, and others, each in a separate zone. */
export function kindConfiguration(nodes: number): string {
  return stringify({
    kind: 'Cluster',
    apiVersion: 'kind.x-k8s.io/v1alpha4',
    nodes: [
      { role: 'control-plane' },
      ...namesOf(nodes).map((name) => ({
        role: 'worker',
        labels: { 'topology.kubernetes.io/region': 'r1', 'topology.kubernetes.io/zone': name },
      })),
    ],
  });
}

/** Creates a cluster with kind, mounts what Kmesh needs in its nodes, and imports the images of `archives`. */
export async function startKindCluster({
  nodes,
  archives,
  kubeconfig,
}: {
  readonly nodes: number;
  readonly archives: readonly string[];
  readonly kubeconfig: string;
}): Promise<void> {
  mkdirSync(clusterFolder, { recursive: true });
  // A cluster of that name may remain although its state was removed, as with the cache.
  await run('kind', ['delete', 'cluster', '--name', kindName, '--kubeconfig', kubeconfig]);
  const configuration = join(clusterFolder, 'kind.yaml');
  writeFileSync(configuration, kindConfiguration(nodes));
  writeState({ backend: 'kind', nodes, machines: [] });
  await run(
    'kind',
    [
      ...['create', 'cluster', '--name', kindName, '--config', configuration],
      ...['--kubeconfig', kubeconfig, '--wait', '300s'],
    ],
    { timeoutMs: CREATE_MS },
  );
  const made = kindNodes(nodes);
  for (const node of made.names) await mountBpf(node);
  for (const archive of archives) await made.load(archive);
}

/** The nodes of kind's cluster. */
export function kindNodes(nodes: number): Nodes {
  return {
    names: namesOf(nodes),
    run: (node, command) => run(engine(), ['exec', node, ...command]),
    async cutPower(node) {
      await run(engine(), ['kill', node]);
    },
    async returnPower(node) {
      await run(engine(), ['start', node]);
      await mountBpf(node);
    },
    async load(archive) {
      await run('kind', ['load', 'image-archive', archive, '--name', kindName]);
    },
  };
}

/** systemd mounts it on a machine, and not in a container. */
async function mountBpf(node: string): Promise<void> {
  await run(engine(), [
    ...['exec', node, 'sh', '-c'],
    'findmnt -t bpf /sys/fs/bpf >/dev/null || mount -t bpf bpf /sys/fs/bpf',
  ]);
}

/** Whether kind has the cluster. */
export async function kindClusterIsThere(): Promise<boolean> {
  if (findProgram('kind') === undefined) return false;
  return (await run('kind', ['get', 'clusters'])).split('\n').includes(kindName);
}

/** Collects the logs of kind's nodes in a folder. */
export async function exportKindLogs(folder: string): Promise<void> {
  await run('kind', ['export', 'logs', folder, '--name', kindName]);
}

/** Removes kind's cluster. */
export async function stopKindCluster(kubeconfig: string): Promise<void> {
  await run('kind', ['delete', 'cluster', '--name', kindName, '--kubeconfig', kubeconfig]);
  rmSync(clusterFolder, { recursive: true, force: true });
}
