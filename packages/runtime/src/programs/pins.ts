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
 * Maps whose contents belong to connections rather than to one state of the mesh: shared by the programs of successive
 * daemons with the same layout. All other maps belong to one daemon and live as long as its programs are attached.
 */
const sharedMaps: readonly (readonly [layout: string, maps: readonly string[]])[] = [
  // While programs of two daemons are at the hooks, each must find what the other announces.
  [`handshakes-${pinnedLayouts.handshakes}`, ['dials', 'connections']],
  [`flows-${pinnedLayouts.flows}`, ['flows', 'live', 'live_places', 'counted', 'counters']],
  // For all layouts: an older daemon's programs hand connections over until replaced, and
  // entries are short-lived. A table of another shape is recognised by its sizes.
  ['.', ['handoffs']],
];
/** Handshakes within a node take less than a millisecond, unless a SYN was dropped. */
const HANDSHAKES_END_MS = 300;
/** Directories of layouts, also of earlier versions. */
const layoutDirectory = /^(v\d+|(handshakes|flows)-v\d+-[0-9a-f]{8})$/;

/**
 * The pins of one node, under one directory on bpffs: `links/` for the programs at the cgroup, `handshakes-<layout>/`
 * and `flows-<layout>/` for the maps of those layouts, `pods/` for the programs at the pods' interfaces. A pin
 * is adopted only if the kernel confirms that it is the object that its name claims.
 */
export class Pins {
  readonly root: string;
  readonly #logger: Logger;
  /** Whether an earlier daemon's hand-off layout differs: its programs and ours must not meet in one connection. */
  readonly #apart: boolean;
  /** Actions deferred to {@link Pins.part}; undefined once it is done. */
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

  /**
   * Call before load: shares the pinned maps of the object's layout with it. Other objects in their place are replaced.
   */
  adoptMaps(object: BpfObject): void {
    for (const [name, path] of this.#maps()) {
      const pinned = open(() => openPinnedMap(path));
      if (pinned === undefined) {
        if (existsSync(path)) this.#replace(path, 'it is not a map');
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

  /** Call after load: pins the maps that are not pinned yet. */
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
   * Runs an action that replaces one of an earlier daemon's programs by ours: within {@link Pins.part}, when our tables
   * know all pods; after it at once.
   */
  whenParted(action: () => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(action);
    else action();
  }

  /**
   * Call before {@link Pins.attach}: if an earlier daemon's programs use another layout of handshakes, new connections
   * take the tunnel path until those in progress are complete. Otherwise does nothing.
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
   * Attaches the programs to their hooks, by updating pinned links where they exist, so there is no instant without a
   * program or with two. A pin is used only if its program is actually attached to this cgroup.
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

  /** Returns the path of a link at an interface of a pod, by the cookie of its network namespace. */
  podPath(cookie: bigint, name: string): string {
    return join(this.root, 'pods', `${cookie}-${name}`);
  }

  /**
   * Removes the links of pods that are gone and the maps of other layouts; call it once the new programs run.
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

  /** Opens the link pinned at a path, if it holds a program of this name. */
  #openLink(path: string, program: string): Link | undefined {
    const pinned = open(() => openPinnedLink(path));
    if (pinned !== undefined && programOf(pinned) === program) return pinned;
    pinned?.close();
    if (existsSync(path)) this.#replace(path, `it is not a link of the program ${program}`);
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

/** Opens the pinned table of handed-over connections, for a daemon without its own kernel path. */
export function pinnedHandoffs(root: string | undefined): BpfMap | undefined {
  return root === undefined ? undefined : open(() => openPinnedMap(join(root, 'map-handoffs')));
}

/**
 * Disables what an earlier daemon left, for a daemon without a kernel path: it decides nothing once this returns, and
 * pins in the configured directory are removed, except the programs at the pods' interfaces: without a lease they admit
 * nothing, and reset the live connections that they admitted, which policy could not end otherwise.
 *
 * @returns when they decide nothing: immediately, or, if the lease cannot be written, after it has expired
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
  // The cgroup may differ from theirs by now, or be absent.
  trying(() => {
    const cgroup = config.cgroup === undefined ? findCgroupMount() : cgroupDirectory(config.cgroup);
    if (cgroup !== undefined) ended += endOtherLeases(cgroup, node);
  });
  if (ended > 0 || removed) logger.info('removed the pins of an earlier daemon', { leasesEnded: ended });
  return ends;
}

/**
 * Ends the lease of the set of programs that is pinned there, if any; returns the number of leases.
 *
 * @throws SystemCallError if this process may not access the programs
 */
function endPinnedLease(root: string, node: string): number {
  // A start that could not end the lease removed the first path and left those at the pods, which have the same lease.
  const paths = [
    join(root, 'links', 'kmesh_sockops'),
    ...entriesOf(join(root, 'pods')).map((name) => join(root, 'pods', name)),
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

/** Opens the link pinned there, if it is one. @throws SystemCallError if this process may not access it */
function linkWithin(path: string): Link | undefined {
  try {
    return openPinnedLink(path);
  } catch (error) {
    if (error instanceof SystemCallError && ['EPERM', 'EACCES'].includes(error.errnoName)) throw error;
    return undefined;
  }
}

/** Returns the network namespace cookies of pods with pinned programs, without pods that are gone. */
export function pinnedPods(root: string): Set<bigint> {
  const directory = join(root, 'pods');
  const pods = new Set<bigint>();
  for (const name of entriesOf(directory)) {
    const cookie = /^\d+(?=-)/.exec(name)?.[0];
    if (cookie === undefined) continue;
    // A pinned program (in place of a link) has no interface to check.
    const link = open(() => openPinnedLink(join(directory, name)));
    if (open(() => link?.info())?.interfaceIndex !== 0) pods.add(BigInt(cookie));
    link?.close();
  }
  return pods;
}

/**
 * Detaches and unpins everything under the directory.
 *
 * @param kept an entry that stays, and with it the directory
 * @returns whether there was anything
 */
export function removePins(root: string, kept?: string): boolean {
  let found = false;
  const visit = (directory: string) => {
    for (const entry of entriesOf(directory)) {
      if (directory === root && entry === kept) continue;
      found = true;
      const path = join(directory, entry);
      if (entriesOf(path).length > 0) visit(path);
      rmSync(path, { recursive: true, force: true });
    }
  };
  visit(root);
  if (kept === undefined) rmSync(root, { recursive: true, force: true });
  return found;
}

/** Returns the entries of a directory; none if it cannot be read. */
export function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Returns the program name of a link; the kernel's information on other objects has another length. */
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
