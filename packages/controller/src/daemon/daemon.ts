import type { Logger } from '@kmesh/api';
import {
  denySystemCalls,
  dropPrivileges,
  raiseDescriptorLimit,
  releaseStartMemory,
  requestShortSlices,
} from '@kmesh/linux';
import { emptyChange, MeshState, reportRoutes } from '@kmesh/orchestration';
import { type ControlSources, type LiveConnections, WorkloadPresence } from '@kmesh/probe';
import {
  HandoffPodTable,
  KernelEnrolment,
  type KernelEvents,
  type KernelPath,
  pinnedHandoffs,
  readKernelEvents,
  refusedFollower,
} from '@kmesh/runtime';
import { buildConfigDump, dumpCertificates, dumpWorkloadState } from '../admin/config-dump.ts';
import { adminPage } from '../admin/page.ts';
import { adminHandler } from '../admin/routes.ts';
import { RevocationStore } from '../certificates/revocation-store.ts';
import type { Config } from '../config/config.ts';
import { IstiodThread } from '../istiod/thread.ts';
import { versionInfo, versionLine } from '../version.ts';
import { ZdsClient } from '../zds/client.ts';
import type { ZdsCounts } from '../zds/pod-register.ts';
import { startCertificates, startXds, xdsCountersFollower } from './control-plane.ts';
import { DataPlane, startDns } from './data-plane.ts';
import { demandsOf } from './demands.ts';
import { IdentityCertainty, kernelPathOf } from './kernel-path.ts';
import { listenHttp } from './listen-http.ts';
import { followLocalMesh } from './local-mesh.ts';
import { podsOf } from './overview.ts';
import { Readiness, readinessHandler } from './readiness.ts';
import {
  type DaemonLog,
  measureLoopDelay,
  startScrape,
  startTelemetry,
  type Telemetry,
  tunnelCounters,
} from './telemetry.ts';
import { adminViews, forgetRemovedServices } from './views.ts';

/** As long as a query waits for the control plane. */
const dnsDemandMilliseconds = 2_000;

/** A running node proxy. */
interface Daemon {
  /** Starts a graceful drain; further calls do nothing. */
  drain(cause: string): void;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
  readonly ports: { readonly admin: number; readonly stats: number; readonly readiness: number };
}

/**
 * Starts every part in the order of ambient contract 2.1: log, limits, listeners, then the mesh; the data plane waits
 * for the first sync. If a part fails, the parts started before are stopped.
 *
 * @throws KMESH_LISTEN_FAILED, KMESH_SCRAPE_LISTEN, KMESH_LOCAL_CONFIG_INVALID
 */
export async function startDaemon(config: Config, log: DaemonLog): Promise<Daemon> {
  const stack = new AsyncDisposableStack();
  try {
    return await start(config, log, stack);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function start(config: Config, log: DaemonLog, stack: AsyncDisposableStack): Promise<Daemon> {
  const { logger } = log;
  const version = versionInfo(config.istioVersion);
  logger.info(versionLine(version));
  for (const warning of config.warnings) logger.warn(warning);
  const descriptors = raiseDescriptorLimit();
  keepNeededPrivileges(logger);

  const startedAt = new Date();
  const readiness = new Readiness();
  readiness.block('state manager');
  if (config.proxyEnabled) readiness.block('proxy');
  if (config.dnsProxyEnabled) readiness.block('dns proxy');
  if (config.proxyMode === 'shared') readiness.block('workload proxy manager');
  // A little later: work that waited for readiness goes first, and the threads have released their start-up memory.
  readiness.onceReady(() => {
    logger.info('ready', { milliseconds: Date.now() - startedAt.getTime() });
    setTimeout(releaseStartMemory, 4_000).unref();
  });

  const state = new MeshState({
    node: config.nodeName,
    clusterId: config.clusterId,
    routesHttpByConnection: config.routesHttpByConnection,
  });
  const certainty = new IdentityCertainty(config);

  // The slow steps run in parallel: the verifier, the threads, the connection to the control plane. Its responses are
  // read once every subscriber of the mesh state is ready.
  const kernelStarts = kernelPathOf(config, state, log, certainty);
  stack.defer(async () => (await kernelStarts).path?.close());
  const following = Promise.withResolvers<void>();
  const istiod = new IstiodThread();
  stack.defer(() => istiod.close());
  const xds = startXds(config, state, logger.child('xds'), {
    synced: () => {
      logger.info('mesh state received', state.counts);
      void startDataPlane();
    },
    obeyed: async () => await (kernel.path?.obeyed() ?? kernel.earlierEnded),
    thread: istiod,
    receiveAfter: following.promise,
  });
  stack.defer(() => xds?.close());
  const scrape = await startScrape(config, log);
  stack.defer(() => scrape.server.close());
  const lookUp = xds && demandsOf(xds, { limitMilliseconds: dnsDemandMilliseconds });
  const dns = startDns({
    ...{ config, state, log, scrape },
    demand: (name) => lookUp?.([name]) ?? Promise.resolve(),
  });
  stack.defer(() => dns?.close());
  const kernel = await kernelStarts;
  const localMesh = await followLocalMesh(config, state, logger.child('local'));
  stack.defer(() => localMesh.close());

  const follow: (() => void)[] = [];
  let events: KernelEvents | undefined;
  const loopDelay = measureLoopDelay();
  stack.defer(loopDelay.close);
  const telemetry = startTelemetry(config, log, scrape, {
    sources: {
      ...(kernel.path === undefined ? {} : kernelSources(kernel.path, () => events)),
      loopDelay: loopDelay.read,
      routes: () => reportRoutes(state),
    },
    presence: new WorkloadPresence(state),
    beforeScrape: () => {
      for (const bringUpToDate of follow) bringUpToDate();
    },
  });
  stack.defer(() => telemetry.close());
  stack.defer(forgetRemovedServices(state, telemetry.live));

  const certificates = startCertificates(config, state, logger.child('certificates'), istiod);
  stack.defer(() => certificates.close());

  const enrolment =
    kernel.path === undefined
      ? undefined
      : new KernelEnrolment(
          kernel.path,
          state,
          logger.child('pods'),
          config.kernelPath.handoff ? new HandoffPodTable(kernel.path.object.map('handoff_pods')) : undefined,
        );
  if (enrolment !== undefined) stack.defer(() => enrolment.close());
  kernel.path?.onRevoked((cookies) => enrolment?.closeDenied(cookies));
  if (kernel.path !== undefined && enrolment !== undefined) {
    const { path } = kernel;
    const { observer } = telemetry;
    events = readKernelEvents({
      ...{ path, state, enrolment, observer },
      logsOpenings: () => telemetry.filter.enabled('access', 'debug'),
      network: config.network,
      logger: logger.child('kernel'),
    });
    follow.push(refusedFollower(telemetry.recorder, path.pathCounts));
    stack.defer(() => events?.close());
  }
  const revocations = new RevocationStore({ path: config.crlPath, logger: logger.child('crl') });
  stack.defer(() => revocations.close());
  if (kernel.path !== undefined)
    stack.defer(certainty.follow(certificates.manager, revocations, kernel.path.tables));
  const pinned = kernel.path === undefined ? pinnedHandoffs(config.kernelPath.pins) : undefined;
  stack.defer(() => pinned?.close());
  const dataPlane = new DataPlane({
    config,
    descriptors,
    state,
    certificates: certificates.manager,
    revocations,
    observer: telemetry.observer,
    counters: tunnelCounters(telemetry.recorder, telemetry.metrics, telemetry.limits),
    logger: logger.child('proxy'),
    enrolment,
    handoffs: kernel.path?.object.map('handoffs') ?? pinned,
    dns,
    picks: kernel.path?.picks,
    demand: config.xdsOnDemand && xds !== undefined ? demandsOf(xds) : undefined,
  });
  stack.defer(() => dataPlane.close());

  const { promise: ended, resolve: end } = Promise.withResolvers<number>();
  let draining = false;
  const drain = (cause: string): void => {
    if (draining) return;
    draining = true;
    logger.info('draining', { cause, deadline: `${config.drainMilliseconds}ms` });
    void stack.disposeAsync().then(
      () => end(0),
      (error: unknown) => {
        logger.error('shutdown failed', { error: String(error) });
        end(1);
      },
    );
  };

  const servers = await startServers(config, readiness, {
    log: {
      current: () => log.filter.toString(),
      add: (clauses) => log.filter.add(clauses),
      reset: () => log.filter.reset(),
    },
    quit: () => drain('/quitquitquit'),
    page: adminPage,
    configDump: () =>
      buildConfigDump({
        state,
        config,
        version,
        certificates: () => dumpCertificates(certificates.manager.entries()),
        workloadState: () =>
          config.proxyMode === 'shared' ? workloadStates(state, dataPlane, telemetry.live) : undefined,
        staticConfig: localMesh.dump,
      }),
    views: adminViews({
      config,
      version,
      startedAt,
      readiness,
      state,
      dataPlane,
      live: telemetry.live,
      limits: telemetry.limits,
      kernelPath: kernel.path,
      kernelPathOff: kernel.off,
      xds: () => xds,
    }),
  });
  let zds: ZdsClient | undefined;
  // Closed after the drain: policies may change while live connections finish.
  stack.defer(() => xds?.close());
  // First and in parallel: live connections and requests get the same time. The CNI agent informs the next instance.
  stack.defer(async () => {
    zds?.close();
    await Promise.all([servers.close(), dataPlane.drain(config.drainMilliseconds)]);
  });

  if (kernel.path !== undefined && config.proxyMode === 'shared') readiness.block('kernel path');
  const publishKernelPath = async (): Promise<void> => {
    if (kernel.path === undefined || enrolment === undefined || draining) return;
    try {
      const pods = await enrolment.settled();
      await certainty.settled(kernel.path.tables);
      await kernel.path.tables.apply(emptyChange());
      await kernel.path.publish(pods);
    } catch (error) {
      logger.error('no kernel path: every connection takes the tunnel path', { error: String(error) });
    }
    readiness.done('kernel path');
  };

  const startDataPlane = async (): Promise<void> => {
    readiness.done('state manager');
    // Pods are served as soon as they are added, so the DNS proxy must know the names of the mesh before.
    await dns?.ready();
    readiness.done('dns proxy');
    readiness.done('proxy');
    if (config.proxyMode !== 'shared') void publishKernelPath();
    if (config.proxyMode !== 'shared' || draining) return;
    zds = new ZdsClient({
      path: config.zdsSocket,
      pods: dataPlane,
      logger: logger.child('zds'),
      onReady: (ready) => {
        if (ready) void publishKernelPath();
        if (ready) readiness.done('workload proxy manager');
        else readiness.block('workload proxy manager');
      },
      onProtocolError: (error) => {
        logger.error('shutting down: the CNI agent violated the ZDS protocol', { error: error.message });
        end(1);
      },
      onCounts: countsFollower(telemetry.metrics),
    });
    dataPlane.pending = () => zds?.pendingPods() ?? [];
    zds.start();
  };
  if (xds === undefined) {
    void startDataPlane();
  } else {
    follow.push(xdsCountersFollower(xds, telemetry.metrics));
    following.resolve();
  }
  // After the threads have started, which would inherit it.
  requestShortSlices();
  return { drain, ended, ports: { ...servers.ports, stats: telemetry.scrape.port } };
}

/**
 * Drops privileges that are not needed after the start (docs/security.md). A failure is logged and does not stop the
 * start.
 */
function keepNeededPrivileges(logger: Logger): void {
  try {
    dropPrivileges([
      // Certificates, tokens and sockets of other users.
      'dacOverride',
      // Listeners and rules in the pods' namespaces; transparent sockets and socket marks.
      ...(['netBindService', 'netAdmin', 'netRaw'] as const),
      // Entering network namespaces; finding those of other processes.
      ...(['sysAdmin', 'sysPtrace'] as const),
      // BPF programs and maps; tracing programs.
      ...(['bpf', 'perfmon'] as const),
    ]);
  } catch (error) {
    logger.warn('privileges could not be dropped', { error: String(error) });
    return;
  }
  try {
    denySystemCalls();
  } catch (error) {
    logger.warn('seccomp filter could not be installed: unneeded system calls stay allowed', {
      error: String(error),
    });
  }
}

function kernelSources(path: KernelPath, events: () => KernelEvents | undefined): ControlSources {
  return {
    eventsLost: () => events()?.lost() ?? 0,
    connectionsReconciled: () => events()?.reconciled() ?? 0,
    refusalsUnreported: () => events()?.refusalsUnreported() ?? 0,
    tables: () =>
      path.tables.usage().map(({ table, used, capacity, refused }) => ({
        ...{ table, refused },
        entries: used,
        maximum: capacity,
      })),
    hooks: path.hookCosts,
    decisions: path.pathCounts,
  };
}

/** Returns a function that adds the CNI client's counts since its last call to the metrics. */
function countsFollower(metrics: Telemetry['metrics']): (counts: ZdsCounts) => void {
  let seen = { started: 0, stopped: 0 };
  return (counts) => {
    metrics.proxies(counts.active, counts.pending);
    for (let done = seen.started; done < counts.started; done++) metrics.proxyStarted();
    for (let done = seen.stopped; done < counts.stopped; done++) metrics.proxyStopped();
    seen = { started: counts.started, stopped: counts.stopped };
  };
}

function workloadStates(
  state: MeshState,
  dataPlane: DataPlane,
  live: LiveConnections,
): Record<string, unknown> {
  const pods = podsOf(dataPlane).map(({ uid, state: podState, name, namespace, serviceAccount }) => {
    const workloadUid = state.localWorkload(namespace, serviceAccount, name)?.uid;
    return { uid, state: podState, name, namespace, serviceAccount, workloadUid };
  });
  return dumpWorkloadState(pods, live);
}

async function startServers(
  config: Config,
  readiness: Readiness,
  admin: Parameters<typeof adminHandler>[0],
): Promise<{ ports: { admin: number; readiness: number }; close: () => Promise<void> }> {
  const loopback = config.ipv6Enabled ? ['127.0.0.1', '::1'] : ['127.0.0.1'];
  const wildcard = config.ipv6Enabled ? ['::'] : ['0.0.0.0'];
  const adminServer = await listenHttp(
    'admin',
    { hosts: loopback, port: config.adminPort },
    adminHandler(admin),
  );
  try {
    const readinessServer = await listenHttp(
      'readiness',
      { hosts: wildcard, port: config.readinessPort },
      readinessHandler(readiness),
    );
    return {
      ports: { admin: adminServer.port, readiness: readinessServer.port },
      close: async () => {
        await Promise.all([
          adminServer.close(config.drainMilliseconds),
          readinessServer.close(config.drainMilliseconds),
        ]);
      },
    };
  } catch (error) {
    await adminServer.close(0);
    throw error;
  }
}
