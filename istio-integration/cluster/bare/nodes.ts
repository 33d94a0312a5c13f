import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { returnNode } from './cluster.ts';
import { imagesFolder } from './images.ts';
import { runIn, stopMachine } from './machine.ts';
import { importImage } from './node.ts';
import { machineOf, readState } from './state.ts';

/** What is done to the nodes of a cluster from outside of it, whatever they are made of. */
export interface Nodes {
  /** Names of those that run pods, in order. */
  readonly names: readonly string[];
  /** Runs a program as root in a node's own namespaces, and returns what it prints. Fails with what it says, if it fails. */
  run(node: string, command: readonly string[]): Promise<string>;
  /** Ends everything in a node at once. */
  cutPower(node: string): Promise<void>;
  /** Starts a node again, with the files that it had. */
  returnPower(node: string): Promise<void>;
  /** Gives every node the images of an archive of the host. */
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
      // A node sees no more of the host than that folder.
      mkdirSync(imagesFolder, { recursive: true });
      const name = 'given.tar';
      copyFileSync(archive, join(imagesFolder, name));
      for (const node of names) await importImage(machineOf(node), `/opt/images/${name}`);
    },
  };
}
