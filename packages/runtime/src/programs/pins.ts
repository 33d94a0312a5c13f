import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Logger } from '@kmesh/api';
import {
  attachedProgramIds,
  type BpfMap,
  type BpfObject,
  cgroupDirectory,
  findCgroupMount,
  type Link,
  openPinnedLink,
  openPinnedMap,
  programById,
  SystemCallError,
} from '@kmesh/linux';
import { pinnedLayouts } from '../tables/gen/layouts.ts';
import { type KernelProgram, kernelPrograms } from '../tables/kernel-object.ts';
import { endLeaseOf, endOtherLeases } from './uninstall.ts';

/**
 * What belongs to connections and not to one state of the mesh: shared by the programs of successive daemons, as long
 * as they agree on the layout. All other tables are each daemon's own, alive for as long as its programs are attached.
 */
const sharedMaps: readonly (readonly [layout: string, maps: readonly string[]])[] = [
  // While programs of two daemons are at the hooks, what one of them announces the other has to find.
  [`handshakes-${pinnedLayouts.handshakes}`, ['dials', 'connections']],
  [`flows-${pinnedLayouts.flows}`, ['flows', 'live', 'live_places', 'counted', 'counters']],
  // For all layouts: the programs of an older daemon hand connections over until those of the next are in their place, and
  // entries are of the moment. A table of another shape is recognised by its sizes.
  ['.', ['handoffs']],
];
/** Handshakes within a node take less than a millisecond, unless a SYN had no room. */
const HANDSHAKES_END_MS = 300;
/** Directories of layouts, those of earlier versions included. */
const layoutDirectory = /^(v\d+|(handshakes|flows)-v\d+-[0-9a-f]{8})$/;

/**
 * The pins of one node, under one directory on bpffs: `links/` for the programs at the cgroup, `handshakes-<layout>/` and
 * `flows-<layout>/` for the maps of those layouts, `pods/` for the programs at the pods' interfaces. What is found there is taken only when the kernel says that it is what its name claims.
 */
export class Pins {
  readonly root: string;
  readonly #logger: Logger;
  /** An earlier daemon's programs hand handshakes over in another way: theirs and ours must not meet in one connection. */
  readonly #apart: boolean;
  /** What waits for {@link Pins.part}; undefined once it is done. */
  #waiting: (() => void)[] | undefined = [];

  constructor(root: string, logger: Logger) {
    this.root = root;
    this.#logger = logger;
    mkdirSync(root, { recursive: true });
    this.#apart =
      existsSync(join(root, 'links', 'kmesh_connect4')) &&
      !existsSync(join(root, `handshakes-${pinnedLayouts.handshakes}`));
    for (const directory of ['links', 'pods', ...sharedMaps.map(([layout]) => layout)]) {
      const path = join(root, directory);
      if (lstatSync(path, { throwIfNoEntry: false })?.isFile())
        this.#replace(path, 'a directory is expected');
      mkdirSync(path, { recursive: true });
    }
  }

  /** Before load: lets the object share the pinned maps of its layout. What does not look like them is replaced. */
  adoptMaps(object: BpfObject): void {
    for (const [name, path] of this.#maps()) {
      const pinned = open(() => openPinnedMap(path));
      if (pinned === undefined) {
        if (existsSync(path)) this.#replace(path, 'it is no map');
        continue;
      }
      try {
        if (pinned.info.name !== name) throw new Error(`it is the map ${pinned.info.name}`);
        object.reuseMap(name, pinned);
      } catch (error) {
        this.#replace(path, error);
      } finally {
        pinned.close();
      }
    }
  }

  /** After load: pins what is not pinned yet. */
  pinMaps(object: BpfObject): void {
    for (const [name, path] of this.#maps()) {
      const pinned = open(() => openPinnedMap(path));
      const own = object.map(name);
      if (pinned?.info.id !== own.info.id) {
        if (pinned !== undefined) this.#replace(path, 'another map is in use');
        own.pin(path);
      }
      pinned?.close();
    }
  }

  /**
   * Runs an action that puts one of our programs in place of an earlier daemon's: within {@link Pins.part}, when our tables
   * know all pods; after it at once.
   */
  whenParted(action: () => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(action);
    else action();
  }

  /**
   * Before {@link Pins.attach}: where an earlier daemon's programs do not understand our handshakes, new connections take
   * the tunnel path until those under way are through. Otherwise nothing happens.
   */
  async part(): Promise<void> {
    if (this.#apart) {
      this.#logger.info(
        'the earlier version has another hand-off layout; new connections take the tunnel path',
        {
          milliseconds: HANDSHAKES_END_MS,
        },
      );
      for (const name of ['kmesh_connect4', 'kmesh_connect6']) {
        const path = join(this.root, 'links', name);
        this.#openLink(path, name)?.detach();
        rmSync(path, { force: true });
      }
      await setTimeout(HANDSHAKES_END_MS);
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const action of waiting) action();
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
      const pinned = this.#openLink(path, name);
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

  /** Path for a link at an interface of a pod, by the cookie of its network namespace. */
  podPath(cookie: bigint, name: string): string {
    return join(this.root, 'pods', `${cookie}-${name}`);
  }

  /**
   * Removes the links of pods that are gone and the maps of other layouts; to be called once the new programs run.
   *
   * @returns the cookies of the pods that are gone
   */
  removeStale(pods: ReadonlySet<bigint>): bigint[] {
    const gone: bigint[] = [];
    for (const name of readdirSync(join(this.root, 'pods'))) {
      const cookie = /^\d+(?=-|$)/.exec(name)?.[0];
      const pod = cookie === undefined ? undefined : BigInt(cookie);
      if (pod !== undefined && pods.has(pod) && name !== cookie) continue;
      rmSync(join(this.root, 'pods', name), { recursive: true, force: true });
      if (pod !== undefined && !pods.has(pod)) gone.push(pod);
    }
    for (const name of readdirSync(this.root)) {
      if (!layoutDirectory.test(name) || sharedMaps.some(([layout]) => layout === name)) continue;
      this.#logger.info('removing the pins of another version', { pins: name });
      rmSync(join(this.root, name), { recursive: true, force: true });
    }
    return gone;
  }

  #maps(): (readonly [name: string, path: string])[] {
    return sharedMaps.flatMap(([layout, names]) =>
      names.map((name) => [name, join(this.root, layout, `map-${name}`)] as const),
    );
  }

  /** The link that is pinned at a path, if it holds a program of this name. */
  #openLink(path: string, program: string): Link | undefined {
    const pinned = open(() => openPinnedLink(path));
    if (pinned !== undefined && programOf(pinned) === program) return pinned;
    pinned?.close();
    if (existsSync(path)) this.#replace(path, `it is no link of the program ${program}`);
    return undefined;
  }

  #replace(path: string, error: unknown): void {
    this.#logger.warn('replacing a pin of an unexpected type', {
      path,
      error: String(error),
    });
    rmSync(path, { recursive: true, force: true });
  }
}

/** The table of handed-over connections that pinned programs write, for a daemon without a kernel path of its own. */
export function pinnedHandoffs(root: string | undefined): BpfMap | undefined {
  return root === undefined ? undefined : open(() => openPinnedMap(join(root, 'map-handoffs')));
}

/**
 * For a daemon without a kernel path: what an earlier one left decides nothing from the return on, and is removed as far as
 * the setting says where it is. Only its programs at the pods' interfaces stay: without a lease they let nothing in, and reset
 * the live connections that they had let in, which policy could not end otherwise.
 *
 * @returns when they decide nothing: at once, but where the lease may not be written, when it has ended by itself
 */
export function withdrawEarlier(
  config: {
    readonly cgroup: string | undefined;
    readonly pins: string | undefined;
    readonly leaseMilliseconds: number;
  },
  node: string,
  logger: Logger,
): Promise<void> {
  const { pins, leaseMilliseconds } = config;
  let ended = 0;
  let removed = false;
  let ends = Promise.resolve();
  const trying = (action: () => void, otherwise: () => void = () => {}) => {
    try {
      action();
    } catch (error) {
      logger.warn('the programs of an earlier daemon may stay active until their lease expires', {
        milliseconds: leaseMilliseconds,
        error: String(error),
      });
      otherwise();
    }
  };
  if (pins !== undefined) {
    trying(
      () => {
        ended += endPinnedLease(pins, node);
      },
      () => {
        ends = setTimeout(leaseMilliseconds, undefined, { ref: false });
      },
    );
    trying(() => {
      removed = removePins(pins, 'pods');
    });
  }
  // The cgroup may be another one than theirs by now, or none.
  trying(() => {
    const cgroup = config.cgroup === undefined ? findCgroupMount() : cgroupDirectory(config.cgroup);
    if (cgroup !== undefined) ended += endOtherLeases(cgroup, node);
  });
  if (ended > 0 || removed) logger.info('removed the pins of an earlier daemon', { leasesEnded: ended });
  return ends;
}

/**
 * Ends the lease of the set of programs that is pinned there, if there is one.
 *
 * @throws SystemCallError where programs are out of this process's reach
 */
function endPinnedLease(root: string, node: string): number {
  // A start that could not end the lease has removed the first, and left those at the pods, which have the same.
  const paths = [
    join(root, 'links', 'kmesh_sockops'),
    ...list(join(root, 'pods')).map((name) => join(root, 'pods', name)),
  ];
  for (const path of paths) {
    const link = linkWithin(path);
    if (link === undefined) continue;
    try {
      return endLeaseOf(link.info().programId, node);
    } finally {
      link.close();
    }
  }
  return 0;
}

/** The link that is pinned there, if it is one. @throws SystemCallError where it is out of this process's reach */
function linkWithin(path: string): Link | undefined {
  try {
    return openPinnedLink(path);
  } catch (error) {
    if (error instanceof SystemCallError && ['EPERM', 'EACCES'].includes(error.errnoName)) throw error;
    return undefined;
  }
}

/** Cookies of the network namespaces whose interfaces have pinned programs. Those of pods that are gone are not among them. */
export function pinnedPods(root: string): Set<bigint> {
  const directory = join(root, 'pods');
  const pods = new Set<bigint>();
  for (const name of list(directory)) {
    const cookie = /^\d+(?=-)/.exec(name)?.[0];
    if (cookie === undefined) continue;
    // A program that is pinned in place of a link does not tell.
    const link = open(() => openPinnedLink(join(directory, name)));
    if (open(() => link?.info())?.interfaceIndex !== 0) pods.add(BigInt(cookie));
    link?.close();
  }
  return pods;
}

/**
 * Detaches and unpins everything under the directory.
 *
 * @param kept an entry that stays, as the directory then does
 * @returns whether there was anything
 */
export function removePins(root: string, kept?: string): boolean {
  let found = false;
  const visit = (directory: string) => {
    for (const entry of list(directory)) {
      if (directory === root && entry === kept) continue;
      found = true;
      const path = join(directory, entry);
      if (list(path).length > 0) visit(path);
      rmSync(path, { recursive: true, force: true });
    }
  };
  visit(root);
  if (kept === undefined) rmSync(root, { recursive: true, force: true });
  return found;
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Name of the program in a link; for other objects the kernel's information has another length. */
function programOf(link: Link): string | undefined {
  try {
    return programById(link.info().programId)?.name;
  } catch {
    return undefined;
  }
}

function open<T>(opening: () => T): T | undefined {
  try {
    return opening();
  } catch {
    return undefined;
  }
}
