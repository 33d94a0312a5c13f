import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1Node } from '@kubernetes/client-node';
import { Api, type Manifest } from './api/api.ts';
import { clusterIsUp, kubeconfig, startCluster, stopCluster } from './bare/cluster.ts';
import { findGo } from './bare/go.ts';
import { buildImages, imagesFolder } from './bare/images.ts';
import { buildPrograms, programsFolder } from './bare/programs.ts';
import { isKind, readState } from './bare/state.ts';
import { runCases } from './cases/run.ts';
import { kindClusterIsThere, startKindCluster, stopKindCluster } from './kind/cluster.ts';
import { clusterNodes } from './kind/nodes.ts';
import { dnsManifests } from './mesh/dns.ts';
import { plainEnvoyFilters } from './mesh/envoy-filters.ts';
import { gatewayApi } from './mesh/gateway-api.ts';
import { installMesh } from './mesh/install.ts';
import { checkNeeded, MissingError, neededByKind, neededByMachines } from './needed.ts';
import type { ClusterOptions } from './options.ts';
import { repository } from './paths.ts';
import { type Progress, startProgress } from './progress.ts';
import { collectLogs } from './report/collect.ts';
import { runSuite } from './suite/run.ts';
import { waitUntil } from './wait.ts';

/** Runs a command. Returns the exit code. */
export async function cluster(options: ClusterOptions): Promise<number> {
  const progress = startProgress();
  switch (options.command) {
    case 'up':
      await up(options, progress);
      return answer(
        options,
        { cluster: 'up', kubeconfig },
        `the cluster is up; "npm run cluster -- use" prints how to use it`,
      );
    case 'test': {
      findGo(progress);
      const report = await runCases(await running(), options, progress);
      const text = `${report.passed} passed, ${report.failed} failed; ${report.junit}`;
      answer(options, report, text);
      return report.failed === 0 && report.passed > 0 ? 0 : 1;
    }
    case 'istio-suite': {
      findGo(progress);
      const report = await runSuite(await running(), options.run, progress);
      const { table, ...values } = report;
      const { passed, failed, notRunnable } = report;
      const text = `${table}\n\n${passed} passed, ${failed} failed, ${notRunnable} not runnable here; ${report.log}`;
      answer(options, values, text);
      return failed === 0 && passed > 0 ? 0 : 1;
    }
    case 'use':
      await running();
      return answer(
        options,
        { kubeconfig, path: isKind() ? '' : programsFolder },
        isKind()
          ? `export KUBECONFIG='${kubeconfig}'`
          : `export KUBECONFIG='${kubeconfig}' PATH='${programsFolder}':"$PATH"`,
      );
    case 'logs': {
      await running();
      const folder = await progress.step('logs', () =>
        collectLogs(new Api(readFileSync(kubeconfig, 'utf8'))),
      );
      return answer(options, { folder }, folder);
    }
    case 'down': {
      const was = await progress.step('down', endCluster);
      return answer(
        options,
        { cluster: 'down', was },
        was ? 'the cluster was removed' : 'there was no cluster',
      );
    }
  }
}

/** Starts a cluster, and waits until everything in it is ready. */
async function up({ nodes, backend, proxy }: ClusterOptions, progress: Progress): Promise<void> {
  checkNeeded(backend === 'kind' ? neededByKind : neededByMachines);
  const archive = proxy.kind === 'image' && proxy.archive !== undefined ? proxy.archive : ownArchive();
  await (backend === 'kind' ? upOfKind : upOfMachines)({ nodes, archive }, progress);
  const api = new Api(readFileSync(kubeconfig, 'utf8'));
  await progress.step('nodes ready, and DNS', async () => {
    if (backend === 'bare') await api.apply(...(dnsManifests as unknown as Manifest[]));
    await api.apply(...gatewayApi());
    await nodesReady(api, clusterNodes().names);
    await api.rolledOut({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: coredns });
  });
  await progress.step('Istio ambient', async () => {
    await installMesh(kubeconfig, { reference: referenceOf(archive), mounts: proxy.kind === 'kmesh' });
    if (backend === 'bare') await api.apply(...plainEnvoyFilters());
  });
}

/** Configuration of the nodes: `archive` is the proxy's image. */
interface Parts {
  readonly nodes: number;
  readonly archive: string;
}

async function upOfMachines({ nodes, archive }: Parts, progress: Progress): Promise<void> {
  await progress.step('programs', async () => {
    findGo(progress);
    await buildPrograms(progress);
  });
  const images = await progress.step('images', () => buildImages(progress));
  mkdirSync(imagesFolder, { recursive: true });
  copyFileSync(archive, join(imagesFolder, 'proxy.tar'));
  await progress.step('the previous cluster', endCluster);
  await startCluster({ nodes, images: [...images, 'proxy.tar'] }, progress);
}

async function upOfKind({ nodes, archive }: Parts, progress: Progress): Promise<void> {
  findGo(progress);
  await progress.step('the previous cluster', endCluster);
  await progress.step('kind', () => startKindCluster({ nodes, archives: [archive], kubeconfig }));
}

/**
 * Ends a cluster of either backend, in whatever way the command that started it ended. Returns false if there is none.
 */
async function endCluster(): Promise<boolean> {
  if (!isKind()) return await stopCluster();
  await stopKindCluster(kubeconfig);
  return true;
}

const coredns = { name: 'coredns', namespace: 'kube-system' };

async function nodesReady(api: Api, names: readonly string[]): Promise<void> {
  let state = '';
  await waitUntil(
    `${names.length} nodes to be ready`,
    90_000,
    async () => {
      const found = await Promise.all(
        names.map((name) =>
          api.read<V1Node>({
            apiVersion: 'v1',
            kind: 'Node',
            metadata: { name },
          }),
        ),
      );
      const ready = found.map((node) => node?.status?.conditions?.find(({ type }) => type === 'Ready'));
      state = JSON.stringify(ready);
      return ready.every((condition) => condition?.status === 'True') ? true : undefined;
    },
    { everyMs: 200, state: () => state },
  );
}

async function running(): Promise<Api> {
  if (!(isKind() ? await kindClusterIsThere() : clusterIsUp()))
    throw new Error(
      readState() === undefined
        ? 'no cluster runs; start one with "npm run cluster -- up"'
        : 'parts of a cluster run, and not all; end it with "npm run cluster -- down"',
    );
  return new Api(readFileSync(kubeconfig, 'utf8'));
}

function ownArchive(): string {
  const archive = join(repository, 'dist/kmesh-image.tar');
  if (!existsSync(archive))
    throw new MissingError(`Kmesh's image: expected at ${archive}; brought by: npm run build:image`);
  return archive;
}

/** The name of the image in an archive of an OCI layout. */
export function referenceOf(archive: string): string {
  const read = (path: string): string =>
    execFileSync('tar', ['-xOf', archive, path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  let index = '';
  try {
    index = read('./index.json');
  } catch {
    index = read('index.json');
  }
  const { manifests } = JSON.parse(index) as { manifests: { annotations?: Record<string, string> }[] };
  const reference = manifests[0]?.annotations?.['io.containerd.image.name'];
  if (reference === undefined)
    throw new Error(`${archive} has no image name (io.containerd.image.name in index.json)`);
  return reference;
}

function answer({ json }: ClusterOptions, value: unknown, text: string): number {
  console.log(json ? JSON.stringify(value) : text);
  return 0;
}
