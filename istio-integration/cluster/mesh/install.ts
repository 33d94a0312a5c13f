import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programsFolder } from '../bare/programs.ts';
import { istioVersion, repository } from '../paths.ts';

const execute = promisify(execFile);
const INSTALL_MS = 120_000;

/** Runs istioctl against the cluster of a kubeconfig, and returns what it prints. */
export async function istioctl(
  kubeconfig: string,
  args: readonly string[],
  { timeoutMs = 60_000 }: { readonly timeoutMs?: number } = {},
): Promise<string> {
  const { stdout } = await execute(join(programsFolder, 'istioctl'), [...args, '--kubeconfig', kubeconfig], {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
  });
  return stdout;
}

/**
 * Installs Istio's ambient profile. `reference` is the image in ztunnel's place; with `mounts` everything else is as
 * profiles/kmesh.yaml says, without it everything else is stock.
 */
export async function installMesh(
  kubeconfig: string,
  { reference, mounts }: { readonly reference: string; readonly mounts: boolean },
): Promise<void> {
  const set = {
    hub: 'docker.io/istio',
    tag: istioVersion,
    'values.ztunnel.image': reference,
    ...(mounts ? {} : { profile: 'ambient' }),
  };
  await istioctl(
    kubeconfig,
    [
      ...['install', '--skip-confirmation', '--readiness-timeout', `${INSTALL_MS / 1000}s`],
      ...(mounts ? ['-f', join(repository, 'istio-integration/profiles/kmesh.yaml')] : []),
      ...Object.entries(set).flatMap(([name, value]) => ['--set', `${name}=${value}`]),
    ],
    { timeoutMs: INSTALL_MS + 20_000 },
  );
}

/** Takes Istio out of the cluster, as a person would. */
export async function uninstallMesh(kubeconfig: string): Promise<void> {
  await istioctl(kubeconfig, ['uninstall', '--purge', '--skip-confirmation'], { timeoutMs: INSTALL_MS });
}
