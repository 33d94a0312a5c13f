import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterFolder } from '../paths.ts';
import type { Machine } from './machine.ts';

/** State of a cluster between two commands. Written before anything is started that `down` must end. */
export interface ClusterState {
  /** Backend of the nodes: machines in this file, or containers of kind. */
  readonly backend: 'bare' | 'kind';
  /** Number of nodes that run pods. */
  readonly nodes: number;
  /** In the order in which they were started; empty with kind. */
  readonly machines: readonly Machine[];
}

const file = join(clusterFolder, 'state.json');

/** Undefined without a cluster or a part of one. */
export function readState(): ClusterState | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ClusterState) : undefined;
}

/** Returns whether the running cluster is of kind, with released images. */
export function isKind(): boolean {
  return readState()?.backend === 'kind';
}

/** Replaces the state in one step. */
export function writeState(state: ClusterState): void {
  mkdirSync(clusterFolder, { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(state, undefined, 2));
  renameSync(`${file}.new`, file);
}

/** Returns a machine of the running cluster by name. Throws if there is none. */
export function machineOf(name: string): Machine {
  const machine = readState()?.machines.find((one) => one.name === name);
  if (machine === undefined) throw new Error(`the cluster has no machine ${name}`);
  return machine;
}
