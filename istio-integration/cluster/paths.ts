import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const repository = fileURLToPath(new URL('../..', import.meta.url));

/** Folder of built programs and images, which outlives clusters: `KMESH_CLUSTER_CACHE`, or `~/.cache/kmesh-cluster`. */
export const cache = process.env['KMESH_CLUSTER_CACHE'] ?? join(homedir(), '.cache/kmesh-cluster');

/** Folder of the cluster's state, machines, logs and kubeconfig; removed with it. */
export const clusterFolder = join(cache, 'cluster');

/** The version that the images, istiod and Kmesh report. */
export const istioVersion = (
  JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { kmesh: { istioVersion: string } }
).kmesh.istioVersion;
