import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { returnNode } from './cluster.ts';
import { imagesFolder } from './images.ts';
import { runIn, stopMachine } from './machine.ts';
import { importImage } from './node.ts';
import { machineOf, readState } from './state.ts';

/** Operations on the nodes of a cluster from outside, for each backend. */
export interface Nodes {
  /** Names of those that run pods, in order. */
  readonly names: readonly string[];
  /** Runs a program as root in a node's namespaces, and returns its output. Throws with its error output. */
  run(node: string, command: readonly string[]): Promise<string>;
  /** Ends everything in a node at once. */
  cutPower(node: string): Promise<void>;
  /** Starts a node again, with its files. */
  returnPower(node: string): Promise<void>;
  /** Imports the images of an archive of the host on every node. */
  load(archive: string): Promise<void>;
}

/** The nodes that are machines of this host. */
export function machineNodes(): Nodes {
  const names = (readState()?.machines ?? [])
    .map(({ name }) => name)
    .filter((name) => name !== 'control')
    .sort();
  return {
    names,
    run: (node, command) => runIn(machineOf(node), command),
    cutPower: stopMachine,
    returnPower: returnNode,
    async load(archive) {
      // A node has access only to that folder of the host.
      mkdirSync(imagesFolder, { recursive: true });
      const name = 'given.tar';
      copyFileSync(archive, join(imagesFolder, name));
      for (const node of names) await importImage(machineOf(node), `/opt/images/${name}`);
    },
  };
}
