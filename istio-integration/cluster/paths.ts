import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const repository = fileURLToPath(new URL('../..', import.meta.url));

/** What outlives a cluster: built programs and images. Of `KMESH_CLUSTER_CACHE`, or `~/.cache/kmesh-cluster`. */
export const cache = process.env['KMESH_CLUSTER_CACHE'] ?? join(homedir(), '.cache/kmesh-cluster');

/** What goes with the cluster: its state, machines, logs and kubeconfig. */
export const clusterFolder = join(cache, 'cluster');

/** The version that the images and istiod say they are, as Kmesh does. */
export const istioVersion = (
  JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { kmesh: { istioVersion: string } }
).kmesh.istioVersion;
