import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1DaemonSet } from '@kubernetes/client-node';
import type { Api } from '../api/api.ts';
import { kubeconfig } from '../bare/cluster.ts';
import { clusterNodes } from '../kind/nodes.ts';
import { earlierKmesh, earlierRevision } from '../mesh/earlier.ts';
import { cache } from '../paths.ts';
import type { Progress } from '../progress.ts';
import { collectLogs } from '../report/collect.ts';
import { junit, type Verdict } from '../report/junit.ts';
import { basicCases } from './basic.ts';
import type { Case } from './case.ts';
import { kernelPathCases } from './kernel-path.ts';
import { lifecycleCases } from './lifecycle.ts';
import { policyCases } from './policy.ts';
import { rollbackCases } from './rollback.ts';
import { routeCases } from './routes.ts';
import { scaleCases } from './scale.ts';
import { clearScene, proxies, type Scene, setScene } from './scene.ts';
import { serviceCases } from './services.ts';
import { suddenEndCases } from './sudden-end.ts';
import { telemetryCases } from './telemetry.ts';
import { toolCases } from './tools.ts';
import { uninstallCases } from './uninstall.ts';
import { upgradeCases } from './upgrade.ts';
import { waypointCases } from './waypoint.ts';

/** Result of a run of the cases. */
export interface CaseReport {
  readonly passed: number;
  readonly failed: number;
  /** Path of the JUnit file. */
  readonly junit: string;
  readonly cases: readonly Verdict[];
}

/** All cases in their order: later ones change more. */
export const allCases: readonly Case[] = [
  ...basicCases,
  ...serviceCases,
  ...toolCases,
  ...policyCases,
  ...waypointCases,
  ...routeCases,
  ...telemetryCases,
  ...lifecycleCases,
  ...scaleCases,
  ...kernelPathCases,
  ...suddenEndCases,
  ...rollbackCases,
  ...upgradeCases,
  ...uninstallCases,
];

/**
 * Runs the cases whose name contains one of `filters`, or all; those of the kernel path where the proxies have one.
 * Logs are collected where one fails.
 */
export async function runCases(
  api: Api,
  { filters, from }: { readonly filters: readonly string[]; readonly from: string | undefined },
  progress: Progress,
): Promise<CaseReport> {
  const named = allCases.filter(
    ({ name }) => filters.length === 0 || filters.some((filter) => name.includes(filter)),
  );
  if (named.length === 0) throw new Error(`no case has ${filters.join(' or ')} in its name`);
  const nodes = clusterNodes();
  const kernelPath = await hasKernelPath(api);
  const chosen = named.filter((one) => one.kernelPath !== true || kernelPath);
  const earlier = chosen.some((one) => one.earlier === true)
    ? await progress.step('an earlier Kmesh', () => earlierKmesh(nodes, from ?? earlierRevision()))
    : undefined;
  const scene: Scene = {
    api,
    kubeconfig,
    nodes: nodes.names,
    outside: nodes,
    kernelPath,
    earlier: earlier?.reference,
    left: [],
  };
  if (scene.nodes.length < 2) throw new Error('the cases need two nodes: "npm run cluster -- up --nodes 2"');
  await progress.step('apps of the cases', () => setScene(scene));
  const verdicts: Verdict[] = [];
  for (const { name, run } of chosen) {
    const started = performance.now();
    let failure: string | undefined;
    let measured: string | undefined;
    try {
      const said = await progress.step(name, async () => await run(scene));
      if (typeof said === 'string') {
        measured = said;
        console.error(`     ${said}`);
      }
    } catch (error) {
      failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
      progress.note(failure);
      failure += `\nlogs: ${await collectLogs(api, name.split(':')[0]?.replace(/\W+/g, '-'))}`;
      console.error(failure);
      await api.remove(...scene.left.splice(0));
    }
    verdicts.push({ name, seconds: (performance.now() - started) / 1000, failure, measured });
  }
  await progress.step('apps of the cases removed', () => clearScene(scene));
  const folder = join(cache, 'reports');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'cluster.xml');
  writeFileSync(file, junit('cluster', verdicts));
  const failed = verdicts.filter(({ failure }) => failure !== undefined).length;
  return { passed: verdicts.length - failed, failed, junit: file, cases: verdicts };
}

/** Returns whether the DaemonSet of the proxies has the mounts of profiles/kmesh.yaml. */
async function hasKernelPath(api: Api): Promise<boolean> {
  const found = await api.read<V1DaemonSet>(proxies);
  return found?.spec?.template.spec?.volumes?.some(({ name }) => name === 'host-bpf') === true;
}
