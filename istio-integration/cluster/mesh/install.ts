import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Api, type Manifest } from '../api/api.ts';
import { programsFolder } from '../bare/programs.ts';
import { isKind } from '../bare/state.ts';
import { istioVersion, repository } from '../paths.ts';
import { waitUntil } from '../wait.ts';

const execute = promisify(execFile);
const INSTALL_MS = 120_000;

/** istioctl of the cluster's cache, or, with Istio's own images, the one in `PATH`. */
const istioctlProgram = (): string => (isKind() ? 'istioctl' : join(programsFolder, 'istioctl'));

/** Runs istioctl against the cluster of a kubeconfig, and returns its output. */
export async function istioctl(
  kubeconfig: string,
  args: readonly string[],
  { timeoutMs = 60_000 }: { readonly timeoutMs?: number } = {},
): Promise<string> {
  const { stdout } = await execute(istioctlProgram(), [...args, '--kubeconfig', kubeconfig], {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
  });
  return stdout;
}

/** The node proxy that replaces ztunnel. */
export interface MeshProxy {
  /** Its image. */
  readonly reference: string;
  /** Whether to apply profiles/kmesh.yaml, or to change only the image. */
  readonly mounts: boolean;
}

/** Installs Istio's ambient profile with the IstioOperators of `files`; Kmesh's takes precedence. */
export async function installMesh(
  kubeconfig: string,
  { reference, mounts }: MeshProxy,
  files: readonly string[] = [],
): Promise<void> {
  const set = {
    hub: 'docker.io/istio',
    tag: istioVersion,
    'values.ztunnel.image': reference,
    // Waypoints, gateways and sidecars use Envoy's own build, which refuses clusters with Istio's filter.
    ...(isKind() ? {} : { 'values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE': 'false' }),
    ...(mounts ? {} : { profile: 'ambient' }),
  };
  await istioctl(
    kubeconfig,
    [
      ...['install', '--skip-confirmation', '--readiness-timeout', `${INSTALL_MS / 1000}s`],
      ...[...files, ...(mounts ? [join(repository, 'istio-integration/profiles/kmesh.yaml')] : [])].flatMap(
        (file) => ['-f', file],
      ),
      ...Object.entries(set).flatMap(([name, value]) => ['--set', `${name}=${value}`]),
    ],
    { timeoutMs: INSTALL_MS + 20_000 },
  );
}

/** Parts of Istio that have pods. */
const workloads: readonly Manifest[] = [
  { kind: 'Deployment', name: 'istiod' },
  { kind: 'DaemonSet', name: 'istio-cni-node' },
  { kind: 'DaemonSet', name: 'ztunnel' },
].map(({ kind, name }) => ({
  apiVersion: 'apps/v1',
  kind,
  metadata: { name, namespace: 'istio-system' } as Manifest['metadata'],
}));

/**
 * Uninstalls Istio with istioctl, and waits until its pods have ended: the removal of the namespace completes with the
 * last of them and would also remove a new installation.
 */
export async function uninstallMesh(kubeconfig: string): Promise<void> {
  await istioctl(kubeconfig, ['uninstall', '--purge', '--skip-confirmation'], { timeoutMs: INSTALL_MS });
  const api = new Api(readFileSync(kubeconfig, 'utf8'));
  for (const workload of workloads)
    await waitUntil(
      `${workload.kind} ${workload.metadata.name} to be gone`,
      90_000,
      async () => ((await api.read(workload)) === undefined ? true : undefined),
      { everyMs: 300 },
    );
}
