import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { enableProgramStatistics } from '@kmesh/linux';
import { startFakeCniAgent } from '../cni/fake-cni-agent.ts';
import { startFakeIstiod } from '../istiod/fake-istiod.ts';
import type { FakeIstiod } from '../istiod/istiod-interface.ts';
import { createLab, type Lab } from '../network/lab.ts';
import { startCanary } from './canary.ts';
import { checkMachine } from './preflight.ts';
import { type ProxyProcess, startProxy } from './proxy-process.ts';
import { buildScene, type Scene, serveFarProxy, writeMeshFile } from './scene.ts';
import { allReached, emptyTally, resultOf, startTraffic } from './traffic.ts';
import { pathTotals, renderView, type ViewState } from './view.ts';

/** Options of `kmesh demo`. */
export interface DemoOptions {
  /** Stops by itself after this time; `undefined` runs until Ctrl-C. */
  readonly forMilliseconds: number | undefined;
  /** Prints one JSON object at the end, and no live view. */
  readonly json: boolean;
  /** Path of a local mesh file that defines the mesh; created if it does not exist. */
  readonly local: string | undefined;
}

const refreshMilliseconds = 500;

/**
 * Runs a mesh on this machine, drives traffic through it and shows it, until a signal stops it; then removes everything
 * it created.
 *
 * @returns 0 when nothing failed and every endpoint was reached, else 1.
 * @throws KMESH_MACHINE_UNFIT, KMESH_DEMO_PROXY
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  checkMachine();
  const stop = stopSignal(options.forMilliseconds);
  const progress = (text: string): void => {
    if (!stop.signal.aborted) process.stderr.write(`kmesh demo: ${text}\n`);
  };
  const stack = new AsyncDisposableStack();
  stack.defer(() => stop.release());
  try {
    progress('building nodes, pods and a host outside the mesh');
    const lab = stack.use(await createLab());
    const directory = mkdtempSync(join(tmpdir(), 'kmesh-demo-'));
    stack.defer(() => rmSync(directory, { recursive: true, force: true }));
    const scene = await buildScene(lab, { certificates: options.local === undefined });
    progress('starting control plane, CNI agent and node proxy');
    const { proxy, istiod } = await startMesh(stack, lab, scene, directory, options.local);
    stop.arm();
    return await watch(options, scene, { proxy, istiod, stopped: stop.signal });
  } finally {
    await stack.disposeAsync();
  }
}

async function startMesh(
  stack: AsyncDisposableStack,
  lab: Lab,
  scene: Scene,
  directory: string,
  local: string | undefined,
): Promise<{ readonly proxy: ProxyProcess; readonly istiod: FakeIstiod | undefined }> {
  const agent = stack.use(startFakeCniAgent(lab));
  for (const pod of scene.pods) await agent.addPod(pod);
  stack.use(enableProgramStatistics());
  const { settings, istiod } = await meshSource(stack, scene, directory, local);
  const proxy = await startProxy(
    {
      ...settings,
      NODE_NAME: scene.node.name,
      INPOD_UDS: agent.path,
      KMESH_CGROUP: lab.cgroup,
      // The pods have no capture rules: the connect hook redirects connections to the tunnel.
      KMESH_PINS: join(await lab.bpffs(), 'kmesh'),
      KMESH_NODE_NAMESPACE: scene.node.namespacePath,
    },
    join(directory, 'proxy.log'),
  );
  stack.defer(() => proxy.stop());
  return { proxy, istiod };
}

/** Returns the source of the mesh, the lab's istiod or a local mesh file, with the proxy's settings for it. */
async function meshSource(
  stack: AsyncDisposableStack,
  scene: Scene,
  directory: string,
  local: string | undefined,
): Promise<{ readonly settings: NodeJS.ProcessEnv; readonly istiod: FakeIstiod | undefined }> {
  if (local !== undefined) {
    writeMeshFile(local, scene.mesh);
    return { settings: { XDS_ADDRESS: '', LOCAL_XDS_PATH: local }, istiod: undefined };
  }
  const istiod = await startFakeIstiod({ mesh: scene.mesh });
  stack.defer(() => istiod.close());
  if (scene.far !== undefined) {
    const { podNamespace, serviceAccount } = scene.far;
    const uri = `spiffe://cluster.local/ns/${podNamespace}/sa/${serviceAccount}`;
    const { chainPem, privateKeyPem } = istiod.authority.issue({ uris: [uri] });
    const rootsPem = [istiod.authority.rootPem];
    const proxy = await serveFarProxy(scene.far, { certificateChainPem: chainPem, privateKeyPem, rootsPem });
    stack.defer(() => proxy.close());
  }
  const roots = join(directory, 'root-cert.pem');
  const token = join(directory, 'istio-token');
  writeFileSync(roots, istiod.rootPem);
  writeFileSync(token, istiod.token, { mode: 0o600 });
  const settings = {
    XDS_ADDRESS: istiod.xdsAddress,
    CA_ADDRESS: istiod.caAddress,
    XDS_ROOT_CA: roots,
    CA_ROOT_CA: roots,
    AUTH_TOKEN: token,
    POD_NAME: 'ztunnel-demo',
    POD_NAMESPACE: 'istio-system',
    SERVICE_ACCOUNT: 'ztunnel',
  };
  return { settings, istiod };
}

/** Input of {@link watch}. */
interface RunningDemo {
  readonly proxy: ProxyProcess;
  readonly istiod: FakeIstiod | undefined;
  readonly stopped: AbortSignal;
}

async function watch(
  options: DemoOptions,
  scene: Scene,
  { proxy, istiod, stopped }: RunningDemo,
): Promise<number> {
  const tally = emptyTally(scene.targets);
  const startedAt = Date.now();
  const traffic = startTraffic(scene.client, scene.targets, tally);
  const { forMilliseconds } = options;
  const canary =
    istiod && startCanary(scene.canary, (changes) => istiod.update(changes), { forMilliseconds, tally });
  const look = async (): Promise<ViewState> => {
    const [overview, hook, bytes, certificates] = await Promise.all([
      proxy.overview(),
      proxy.connectHook(),
      proxy.bytes(),
      proxy.certificates(),
    ]);
    const now = Date.now() - startedAt;
    const state = {
      elapsedMilliseconds: now,
      tally,
      overview,
      hook,
      bytes,
      certificates,
      canary: canary?.state(tally),
      before,
      problem: proxy.problem(),
    };
    before = { elapsedMilliseconds: now, connections: tally.connections, bytes, paths: pathTotals(overview) };
    return state;
  };
  let before: ViewState['before'];
  let reported: string | undefined;
  const live = !options.json && process.stdout.isTTY === true;
  while (!stopped.aborted) {
    if (live) show(renderView(await look(), process.stdout.columns, useColour()));
    else if (proxy.problem() !== reported) {
      reported = proxy.problem();
      process.stderr.write(`kmesh demo: ${reported ?? 'the local mesh file is applied again'}\n`);
    }
    await delay(refreshMilliseconds, undefined, { signal: stopped }).catch(() => undefined);
  }
  canary?.stop();
  await traffic.stop();
  const last = await look();
  const hookNs = last.hook.runs === 0 ? 0 : Math.round(last.hook.nanoseconds / last.hook.runs);
  const reached = allReached(tally, scene.targets);
  if (options.json) console.log(JSON.stringify(resultOf(tally, pathTotals(last.overview), hookNs)));
  else if (live) show(`${renderView(last, process.stdout.columns, useColour())}\n`);
  else console.log(renderView(last, 110, false));
  if (!reached) process.stderr.write('kmesh demo: something failed, or an endpoint was never reached\n');
  return reached ? 0 : 1;
}

function useColour(): boolean {
  return process.env['NO_COLOR'] === undefined;
}

/** Overwrites the previous view: moves to the top, clears each line, then everything below. */
function show(text: string): void {
  process.stdout.write(`\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[K\x1b[J`);
}

/** Ctrl-C, SIGTERM or the time limit, which runs from `arm`. */
function stopSignal(forMilliseconds: number | undefined): {
  signal: AbortSignal;
  arm(): void;
  release(): void;
} {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  let timer: NodeJS.Timeout | undefined;
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);
  return {
    signal: controller.signal,
    arm: () => {
      if (forMilliseconds !== undefined) timer = setTimeout(stop, forMilliseconds);
    },
    release: () => {
      clearTimeout(timer);
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      process.off('SIGHUP', stop);
    },
  };
}
