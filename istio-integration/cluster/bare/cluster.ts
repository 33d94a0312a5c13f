import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterFolder } from '../paths.ts';
import type { Progress } from '../progress.ts';
import { network, nodeAddresses } from './addresses.ts';
import { controlUsers, startControlPlane } from './control-plane.ts';
import { type Credentials, makeCredentials } from './credentials.ts';
import { imagesFolder } from './images.ts';
import { endMachines, isUp, type Machine, removeFolder, run, runIn, startMachine } from './machine.ts';
import {
  configureNode,
  importImage,
  type NodePlace,
  nodeUsers,
  startContainerd,
  startKubelet,
} from './node.ts';
import { programsFolder } from './programs.ts';
import { readState, writeState } from './state.ts';

/** Where the kubeconfig of the running cluster is. */
export const kubeconfig = join(clusterFolder, 'kubeconfig');

/** Starts a control plane and nodes, and imports the images, named by their files, on each node. */
export async function startCluster(
  { nodes, images }: { readonly nodes: number; readonly images: readonly string[] },
  progress: Progress,
): Promise<void> {
  mkdirSync(clusterFolder, { recursive: true });
  const places = Array.from({ length: nodes }, (_, index) => nodeAddresses(index + 1));
  const credentials = makeCredentials(join(clusterFolder, 'credentials'), [
    ...controlUsers,
    ...places.flatMap(({ name }) => nodeUsers(name)),
  ]);
  writeFileSync(kubeconfig, credentials.kubeconfig('admin'), { mode: 0o600 });
  writeState({ backend: 'bare', nodes, machines: [] });
  const control = await progress.step('control plane', async () => {
    const machine = await begin('control');
    await makeSwitch(machine, nodes);
    await startControlPlane(machine, credentials);
    return machine;
  });
  await progress.step(`${nodes} node${nodes === 1 ? '' : 's'}`, () =>
    Promise.all(places.map((_, index) => startNode(index + 1, { control, credentials, nodes, images }))),
  );
}

/**
 * Ends a cluster and removes everything of it, in whatever way the command that started it ended. Returns false if
 * there is none.
 */
export async function stopCluster(): Promise<boolean> {
  const ended = await endMachines();
  // A network namespace outlives its processes while their connections wait for an answer: minutes if both ends were
  // killed.
  const link = `/sys/class/net/${network.hostInterface}`;
  try {
    if (existsSync(link)) run('ip', ['link', 'delete', network.hostInterface]);
  } catch (error) {
    if (existsSync(link)) throw error;
  }
  const left = existsSync(clusterFolder);
  removeFolder(clusterFolder);
  return ended || left;
}

/** Whether all machines of the cluster run. */
export function clusterIsUp(): boolean {
  const state = readState();
  return state !== undefined && state.machines.length === state.nodes + 1 && state.machines.every(isUp);
}

async function begin(name: string): Promise<Machine> {
  const machine = await startMachine({
    name,
    directory: join(clusterFolder, 'machines', name),
    programs: programsFolder,
    images: imagesFolder,
  });
  const state = readState();
  if (state === undefined) throw new Error('the cluster was ended meanwhile');
  writeState({ ...state, machines: [...state.machines.filter((other) => other.name !== name), machine] });
  return machine;
}

/** Configuration of a node, except its number. */
interface NodeParts {
  readonly control: Machine;
  readonly credentials: Credentials;
  readonly nodes: number;
  readonly images: readonly string[];
}

/** Starts a machine that {@link stopMachine} ended, with its files. */
export async function returnNode(name: string): Promise<void> {
  const state = readState();
  const control = state?.machines.find((machine) => machine.name === 'control');
  if (state === undefined || control === undefined) throw new Error('there is no cluster');
  const number = Array.from({ length: state.nodes }, (_, index) => index + 1).find(
    (one) => nodeAddresses(one).name === name,
  );
  if (number === undefined) throw new Error(`the cluster has no node ${name}`);
  // Its network interface is removed with the last connection of the earlier machine, which waits for an answer.
  await runIn(control, ['sh', '-c', 'ip link delete "$0" 2>/dev/null || [ ! -e "/sys/class/net/$0" ]', name]);
  const place = await plugIn(number, control, state.nodes);
  await startContainerd(place.machine);
  startKubelet(place);
}

/** A machine in the nodes' network. */
async function plugIn(number: number, control: Machine, nodes: number): Promise<NodePlace> {
  const { name, address, pods } = nodeAddresses(number);
  const machine = await begin(name);
  await connect(control, machine, address);
  for (let other = 1; other <= nodes; other += 1) {
    const place = nodeAddresses(other);
    if (other !== number) await runIn(machine, ['ip', 'route', 'add', place.pods, 'via', place.address]);
  }
  return { machine, address, pods };
}

async function startNode(number: number, { control, credentials, nodes, images }: NodeParts): Promise<void> {
  const place = await plugIn(number, control, nodes);
  const { machine } = place;
  configureNode(place, credentials);
  await startContainerd(machine);
  for (const image of images) await importImage(machine, `/opt/images/${image}`);
  startKubelet(place);
}

/** The nodes' switch, in the control machine, and the host's interface in it. */
async function makeSwitch(control: Machine, nodes: number): Promise<void> {
  await runIn(control, ['ip', 'link', 'add', 'switch', 'type', 'bridge']);
  await runIn(control, ['ip', 'address', 'add', `${network.control}/${network.prefix}`, 'dev', 'switch']);
  await runIn(control, ['ip', 'link', 'set', 'switch', 'up']);
  for (let number = 1; number <= nodes; number += 1) {
    const { address, pods } = nodeAddresses(number);
    await runIn(control, ['ip', 'route', 'add', pods, 'via', address]);
  }
  run('ip', [
    ...['link', 'add', network.hostInterface, 'type', 'veth'],
    ...['peer', 'name', 'host', 'netns', String(control.pid)],
  ]);
  await runIn(control, ['ip', 'link', 'set', 'host', 'master', 'switch', 'up']);
  run('ip', ['address', 'add', `${network.host}/${network.prefix}`, 'dev', network.hostInterface]);
  run('ip', ['link', 'set', network.hostInterface, 'up']);
  run('ip', ['route', 'add', network.balancers, 'via', nodeAddresses(1).address]);
  await runIn(control, ['ip', 'route', 'add', network.balancers, 'via', nodeAddresses(1).address]);
}

async function connect(control: Machine, machine: Machine, address: string): Promise<void> {
  // Only the host's network namespace is left: the other end is named by a process id of the host.
  run('nsenter', [
    ...['--target', String(control.pid), '--net', 'ip', 'link', 'add', machine.name, 'type', 'veth'],
    ...['peer', 'name', 'eth0', 'netns', String(machine.pid)],
  ]);
  await runIn(control, ['ip', 'link', 'set', machine.name, 'master', 'switch', 'up']);
  await runIn(machine, ['ip', 'address', 'add', `${address}/${network.prefix}`, 'dev', 'eth0']);
  await runIn(machine, ['ip', 'link', 'set', 'eth0', 'up']);
  await runIn(machine, ['ip', 'route', 'add', 'default', 'via', network.control]);
}
