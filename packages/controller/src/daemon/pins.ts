import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '@kmesh/api';
import { type KernelProgram, kernelPrograms, kmeshConstant } from '@kmesh/orchestration';
import {
  attachedProgramIds,
  type BpfMap,
  type BpfObject,
  type Link,
  openPinnedLink,
  openPinnedMap,
  unpin,
} from '@kmesh/runtime';

/**
 * What belongs to connections and not to one state of the mesh: shared by the programs of successive daemons, as long
 * as they agree on the layout. All other tables are each daemon's own, alive for as long as its programs are attached.
 */
const flowMaps = [
  'flows',
  'dials',
  'exchanges',
  'peers',
  'handshakes',
  'knocks',
  'redirect_counts',
  'counters',
] as const;

/**
 * The pins of one node, under one directory on bpffs: `links/` for the programs at the cgroup, `v<layout>/` for the
 * maps of that layout and what is attached to them, `pods/` for the programs at the pods' interfaces.
 */
export class Pins {
  readonly root: string;
  readonly #logger: Logger;

  constructor(root: string, logger: Logger) {
    this.root = root;
    this.#logger = logger;
    for (const directory of ['', 'links', 'pods', this.#layout])
      mkdirSync(join(root, directory), { recursive: true });
  }

  /** Before load: lets the object share the pinned maps of its layout. What does not look like them is replaced. */
  adoptMaps(object: BpfObject): void {
    for (const name of flowMaps) {
      const pinned = open(() => openPinnedMap(this.#mapPath(name)));
      if (pinned === undefined) continue;
      try {
        object.reuseMap(name, pinned);
      } catch (error) {
        this.#replace(this.#mapPath(name), error);
      } finally {
        pinned.close();
      }
    }
  }

  /** After load: pins what is not pinned yet. */
  pinMaps(object: BpfObject): void {
    for (const name of flowMaps) {
      const pinned = open(() => openPinnedMap(this.#mapPath(name)));
      const own = object.map(name);
      if (pinned?.info.id !== own.info.id) {
        if (pinned !== undefined) this.#replace(this.#mapPath(name), 'another map is in use');
        own.pin(this.#mapPath(name));
      }
      pinned?.close();
    }
  }

  /**
   * Puts the programs at their hooks: into the pinned links where there are any, so that there is no instant without a
   * program and none with two. A pin is taken only when its program really is attached to this cgroup.
   */
  attach(object: BpfObject, cgroup: string): Map<KernelProgram, Link> {
    const links = new Map<KernelProgram, Link>();
    for (const name of kernelPrograms) {
      const program = object.program(name);
      const path = join(this.root, 'links', name);
      const pinned = open(() => openPinnedLink(path));
      if (pinned !== undefined) {
        try {
          const attached = attachedProgramIds(cgroup, program.attachType);
          if (!attached.includes(pinned.info().programId))
            throw new Error('it is not attached to this cgroup');
          pinned.update(program);
          links.set(name, pinned);
          continue;
        } catch (error) {
          pinned.close();
          this.#replace(path, error);
        }
      }
      const link = program.attachCgroup(cgroup);
      link.pin(path);
      links.set(name, link);
    }
    return links;
  }

  /**
   * Keeps an attachment that goes with the maps of this layout: the pinned one, or a new one. A tracepoint's is never
   * replaced, since for an instant two programs would count the same bytes.
   */
  keep(name: string, attach: () => Link): Link {
    const path = join(this.root, this.#layout, `link-${name}`);
    const pinned = open(() => openPinnedLink(path));
    if (pinned !== undefined) return pinned;
    const link = attach();
    if (link.pinnable) link.pin(path);
    return link;
  }

  /** Path for the link at the interface of a pod, by the cookie of its network namespace. */
  podPath(cookie: bigint): string {
    return join(this.root, 'pods', `${cookie}`);
  }

  /** Removes the links of pods that are gone and the maps of other layouts; to be called once the new programs run. */
  removeStale(pods: ReadonlySet<bigint>): void {
    for (const name of readdirSync(join(this.root, 'pods'))) {
      if (!/^\d+$/.test(name) || !pods.has(BigInt(name))) unpin(join(this.root, 'pods', name));
    }
    for (const name of readdirSync(this.root)) {
      if (!/^v\d+$/.test(name) || name === this.#layout) continue;
      this.#logger.info('pins of another version are removed', { pins: name });
      rmSync(join(this.root, name), { recursive: true, force: true });
    }
  }

  get #layout(): string {
    return `v${kmeshConstant.layoutVersion}`;
  }

  #mapPath(name: string): string {
    return join(this.root, this.#layout, `map-${name}`);
  }

  #replace(path: string, error: unknown): void {
    this.#logger.warn('a pin is not what this version expects and is replaced', {
      path,
      error: String(error),
    });
    unpin(path);
  }
}

/** Detaches and unpins everything under the directory. @returns whether there was anything */
export function removePins(root: string): boolean {
  let found = false;
  const visit = (directory: string) => {
    for (const entry of list(directory)) {
      found = true;
      const path = join(directory, entry);
      if (list(path).length > 0) visit(path);
      rmSync(path, { recursive: true, force: true });
    }
  };
  visit(root);
  rmSync(root, { recursive: true, force: true });
  return found;
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function open<T extends Link | BpfMap>(opening: () => T): T | undefined {
  try {
    return opening();
  } catch {
    return undefined;
  }
}
