import { type HookCost, type Identity, KmeshError, type Logger } from '@kmesh/api';
import {
  attachedProgramIds,
  type BpfMap,
  type BpfObject,
  cgroupDirectory,
  cgroupObstacle,
  findCgroupMount,
  kernelBarrier,
  probeCapabilities,
} from '@kmesh/linux';
import type { MeshState, NodeContext } from '@kmesh/orchestration';
import type { BypassParts } from '../pods/capture-bypass.ts';
import { NodeSide } from '../pods/node-side.ts';
import { type PathCount, readPathCounts } from '../tables/counters.ts';
import {
  attachKernelObject,
  kernelMapsOf,
  kernelPathObstacles,
  loadKernelObject,
} from '../tables/kernel-object.ts';
import { KernelTables } from '../tables/kernel-tables.ts';
import { Pins } from './pins.ts';
import { endOtherLeases, removeFiltersOf } from './uninstall.ts';

/** Settings of the kernel path. */
export interface KernelPathConfig {
  /** `KMESH_KERNEL_PATH`, true by default; off: all connections take the tunnel path. */
  readonly enabled: boolean;
  /** `KMESH_CGROUP`: the cgroup v2 directory whose processes are served; unset: the root of the mount. */
  readonly cgroup: string | undefined;
  /**
   * `KMESH_PINS`: directory on bpffs, such as `/sys/fs/bpf/kmesh`, that keeps the kernel path alive while no daemon runs;
   * unset: the kernel path ends with the daemon.
   */
  readonly pins: string | undefined;
  /**
   * `KMESH_HANDOFF`: redirect connections of the tunnel path from `connect` directly to the pod's proxy, bypassing NAT
   * and conntrack. On by default only if programs are pinned: only then do two daemons that serve a pod share its
   * connections.
   */
  readonly handoff: boolean;
  /**
   * `KMESH_LEASE`, 60 s by default: how long the programs continue deciding without a renewal by a daemon; afterwards
   * every connection is left to capture.
   */
  readonly leaseMilliseconds: number;
  /**
   * `KMESH_SAME_NODE`: `attested` (default) keeps connections between pods of a node in the kernel if both identities
   * are certain; `mtls`: uses mutual TLS, as between nodes.
   */
  readonly sameNode: 'attested' | 'mtls';
  /**
   * `KMESH_NODE_NAMESPACE`: path of the node's network namespace; unset: `/host/netns`, or that of process 1 below `/host/proc` or `/proc`.
   * Without it connections between pods of the node take the tunnel path.
   */
  readonly nodeNamespace: string | undefined;
}

/** The running kernel path: programs and tables. */
export interface KernelPath {
  readonly tables: KernelTables;
  readonly object: BpfObject;
  pathCounts(): readonly PathCount[];
  /** Returns run counts and times of the programs; empty unless `kernel.bpf_stats_enabled` is set. */
  hookCosts(): readonly HookCost[];
  /** Where programs and maps are pinned; undefined if they end with the process. */
  readonly pins: Pins | undefined;
  /**
   * Attaches the programs to their hooks, once, replacing an earlier daemon's, which served until now. Call it when the
   * tables know the mesh and the pods, whose namespace cookies are passed.
   *
   * @throws KMESH_BPF_ATTACH_FAILED
   */
  publish(pods: ReadonlySet<bigint>): Promise<void>;
  /** Endpoints that the connect hook chose for connections of the tunnel path, which removes them from the map. */
  readonly picks: {
    /** The map `picks`. */
    readonly table: BpfMap;
    /** Returns the uid of a workload by its number in the table. */
    uidOf(workload: number): string | undefined;
  };
  /** The programs installed in each pod. */
  readonly bypass: BypassParts;
  /**
   * Resolves when no program decides by the mesh state of before this call; await it before acknowledging to the
   * control plane. If an earlier daemon's programs are attached, waits a few seconds for `publish`, then disables them.
   */
  obeyed(): Promise<void>;
  /** Whether its programs are at the hooks: after `publish`, and until another daemon's replace them. */
  readonly isObserving: () => boolean;
  /** Sets the listener for cookies of pods whose policies changed; called once the old ones admit no new connection. */
  onRevoked(listener: (cookies: readonly bigint[]) => void): void;
  close(): void;
}

/**
 * How long an earlier daemon's programs may decide after the first mesh state, while the CNI agent reports the pods.
 */
const TAKEOVER_MILLISECONDS = 3_000;

const objectPath = process.env['KMESH_BPF_OBJECT'] ?? 'bpf/kmesh.bpf.o';

/**
 * Loads the kernel programs and keeps their tables equal to the mesh (bpf/README.md). Call it while
 * `state` is still empty, since the tables follow its changes.
 *
 * @throws KMESH_KERNEL_PATH_UNAVAILABLE naming what is missing; KMESH_BPF_LOAD_FAILED with the verifier's summary.
 */
export async function startKernelPath(
  config: KernelPathConfig,
  node: NodeContext,
  state: MeshState,
  logger: Logger,
  isCertain?: (identity: Identity) => boolean,
): Promise<KernelPath> {
  const cgroup = config.cgroup === undefined ? findCgroupMount() : cgroupDirectory(config.cgroup);
  // A configured directory need not be on the mount that is found by default.
  const obstacles = kernelPathObstacles(
    probeCapabilities().filter(({ name }) => name !== 'cgroup-mount' || config.cgroup === undefined),
  );
  if (obstacles.length > 0 || cgroup === undefined) {
    throw new KmeshError('KMESH_KERNEL_PATH_UNAVAILABLE', `the kernel lacks ${obstacles.join('; ')}`);
  }
  const misplaced = cgroupObstacle(cgroup);
  if (misplaced !== undefined) throw new KmeshError('KMESH_KERNEL_PATH_UNAVAILABLE', misplaced);
  const stack = new DisposableStack();
  try {
    const pins = config.pins === undefined ? undefined : new Pins(config.pins, logger);
    const object = await loadKernelObject({
      path: objectPath,
      prepare: (opened) => pins?.adoptMaps(opened),
    });
    stack.defer(() => object.close());
    pins?.pinMaps(object);
    let revoked: (cookies: readonly bigint[]) => void = () => {};
    const tables = new KernelTables({
      view: state,
      node,
      maps: kernelMapsOf(object),
      barrier: kernelBarrier,
      ...(pins === undefined ? {} : { firstId: firstIdOfThisRun() }),
      onRevoked: (cookies) => revoked(cookies),
      leaseMilliseconds: config.leaseMilliseconds,
      ...(isCertain === undefined ? {} : { isCertain }),
    });
    const followed = followMesh(tables, state, logger);
    stack.defer(followed.stop);
    const nodeSide = stack.use(new NodeSide(config.nodeNamespace));
    if (nodeSide.outOfReach !== undefined) {
      // The wire can then be attached only if this process runs in the node's namespace.
      logger.warn(
        "the node's network namespace is out of reach: same-node connections may take the tunnel path",
        {
          error: nodeSide.outOfReach,
        },
      );
    }
    const taken = Promise.withResolvers<void>();
    const ownProgram = object.program('kmesh_sockops').info().id;
    let takeover: Promise<void> | undefined;
    const takeOver = async () => {
      const giveUp = setTimeout(() => {
        if (owned.disposed || endOtherLeases(cgroup, node.node, ownProgram) === 0) return taken.resolve();
        logger.warn(
          'the programs of an earlier daemon are disabled: the pods of this node are not known yet',
        );
        taken.resolve();
      }, TAKEOVER_MILLISECONDS).unref();
      await taken.promise;
      clearTimeout(giveUp);
    };
    const owned = stack.move();
    let published = false;
    return {
      tables,
      object,
      pathCounts: () => readPathCounts(object),
      hookCosts: () =>
        object.programNames.map((program) => hookCost(object, program)).filter(({ runs }) => runs > 0),
      pins,
      picks: {
        table: object.map('picks'),
        uidOf: (workload) => (owned.disposed ? undefined : tables.workloadUid(workload)),
      },
      bypass: {
        ingress: object.program('kmesh_ingress'),
        wire: object.program('kmesh_wire'),
        node: nodeSide,
        pins,
      },
      obeyed: async () => {
        takeover ??= takeOver();
        await takeover;
        await followed.withdrawn();
      },
      publish: async (pods) => {
        if (published || owned.disposed) return;
        published = true;
        await pins?.part();
        if (owned.disposed) return;
        const links = pins?.attach(object, cgroup) ?? attachKernelObject(object, cgroup);
        for (const link of links.values()) owned.defer(() => link.close());
        removeFiltersOf(pins?.removeStale(pods) ?? [], nodeSide);
        endOtherLeases(cgroup, node.node, ownProgram);
        taken.resolve();
        logger.info('kernel path enabled', { cgroup, pins: config.pins ?? 'none' });
      },
      isObserving: () => {
        if (!published || owned.disposed) return false;
        const sockops = object.program('kmesh_sockops');
        return attachedProgramIds(cgroup, sockops.attachType).includes(sockops.info().id);
      },
      onRevoked: (listener) => {
        revoked = listener;
      },
      close: () => {
        if (pins === undefined) tables.endLease();
        taken.resolve();
        owned.dispose();
      },
    };
  } catch (error) {
    stack.dispose();
    throw error;
  }
}

/**
 * Returns the first of a million ids for this run: ids of an earlier run, still held by sockets, must not be reused.
 */
function firstIdOfThisRun(): number {
  return (Math.floor(Date.now() / 1000) % 4_000) * 0x10_0000 + 1;
}

/** Applies every change of the mesh to the tables. */
function followMesh(
  tables: KernelTables,
  state: MeshState,
  logger: Logger,
): { readonly stop: () => void; readonly withdrawn: () => Promise<void> } {
  let last: Promise<void> | undefined;
  const stop = state.subscribe((change) => {
    const written = tables.apply(change);
    // Changes that are written together share a promise.
    if (written === last) return;
    last = written;
    written.then(
      () => logger.debug('the kernel tables follow the mesh'),
      (error: unknown) =>
        logger.error('the kernel tables could not be updated from the mesh', { error: String(error) }),
    );
  });
  // The change listener has already withdrawn what is denied; running programs may have read it before.
  return { stop, withdrawn: kernelBarrier };
}

function hookCost(object: BpfObject, program: string): HookCost {
  const { runTimeNs, runCount } = object.program(program).info();
  return { program, runs: Number(runCount), nanoseconds: Number(runTimeNs) };
}
