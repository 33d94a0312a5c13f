import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterFolder } from '../paths.ts';
import type { Machine } from './machine.ts';

/** What is known of a cluster between two commands. Written before anything that `down` would have to end. */
export interface ClusterState {
  /** What the nodes are: machines of this file, or containers that kind made. */
  readonly backend: 'bare' | 'kind';
  /** How many run pods. */
  readonly nodes: number;
  /** In the order in which they were started; none of kind's. */
  readonly machines: readonly Machine[];
}

const file = join(clusterFolder, 'state.json');

/** Undefined where there is no cluster, not even a part of one. */
export function readState(): ClusterState | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ClusterState) : undefined;
}

/** Whether the cluster that runs is of kind, with images that are released. */
export function isKind(): boolean {
  return readState()?.backend === 'kind';
}

/** Replaces the state in one step. */
export function writeState(state: ClusterState): void {
  mkdirSync(clusterFolder, { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(state, undefined, 2));
  renameSync(`${file}.new`, file);
}

/** A machine of the cluster that runs, by its name. Fails where there is no such machine. */
export function machineOf(name: string): Machine {
  const machine = readState()?.machines.find((one) => one.name === name);
  if (machine === undefined) throw new Error(`the cluster has no machine ${name}`);
  return machine;
}
