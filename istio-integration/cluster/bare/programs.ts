import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { findEnvoy } from '../../../bench/peers/envoy-program.ts';
import { MissingError } from '../needed.ts';
import { cache, istioVersion, repository } from '../paths.ts';
import type { Progress } from '../progress.ts';
import { goEnvironment } from './go.ts';
import { run } from './machine.ts';

/** A Go module of this repository, and the programs that are built from it. */
interface Module {
  readonly folder: string;
  /** Name of the stamp of the cached build, if a folder has several modules. */
  readonly key?: string;
  /** Packages to build, and the file that each is written to. */
  readonly packages: Readonly<Record<string, string>>;
  /** Names of links to the file; without any, its own name. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  /** Variables that the build sets. */
  readonly variables: Readonly<Record<string, string>>;
  /** Build tags. */
  readonly tags?: readonly string[];
  /** Packages of which the tests are built, and the file that each is written to. */
  readonly tests?: Readonly<Record<string, string>>;
}

const sources = join(repository, 'istio-integration/cluster/programs');
/** Folder of the built programs, by name. */
export const programsFolder = join(cache, 'bin');

const kubernetesVersion = (): string =>
  /k8s\.io\/kubernetes (v\S+)/.exec(readFileSync(join(sources, 'kubernetes/go.mod'), 'utf8'))?.[1] ?? '';

function modules(): Module[] {
  const kubernetes = kubernetesVersion();
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(kubernetes) ?? [];
  const version = 'k8s.io/component-base/version';
  const istio = 'istio.io/istio/pkg/version';
  const echo = 'istio.io/istio/pkg/test/echo/cmd';
  return [
    { folder: 'pause', packages: { '.': 'pause' }, names: {}, variables: {} },
    {
      folder: 'kubernetes',
      packages: { '.': 'kubernetes' },
      names: {
        kubernetes: [
          ...[
            'kube-apiserver',
            'kube-controller-manager',
            'kube-proxy',
            'kube-scheduler',
            'kubectl',
            'kubelet',
          ],
        ],
      },
      variables: {
        [`${version}.gitVersion`]: kubernetes,
        [`${version}.gitMajor`]: major,
        [`${version}.gitMinor`]: minor,
      },
    },
    {
      folder: 'istio',
      packages: {
        'istio.io/istio/pilot/cmd/pilot-discovery': 'pilot-discovery',
        'istio.io/istio/pilot/cmd/pilot-agent': 'pilot-agent',
        'istio.io/istio/istioctl/cmd/istioctl': 'istioctl',
        'istio.io/istio/cni/cmd/install-cni': 'install-cni',
        'istio.io/istio/cni/cmd/istio-cni': 'istio-cni',
        [`${echo}/client`]: 'echo-client',
        [`${echo}/server`]: 'echo-server',
      },
      names: {},
      variables: {
        [`${istio}.buildVersion`]: istioVersion,
        [`${istio}.buildTag`]: istioVersion,
        [`${istio}.buildHub`]: 'docker.io/istio',
        [`${istio}.buildStatus`]: 'Clean',
      },
    },
    // Of Istio's module, with Istio's versions of what they share: most of it is Kubernetes' client, which is compiled once.
    { folder: 'istio', key: 'coredns', packages: { './coredns': 'coredns' }, names: {}, variables: {} },
    {
      folder: 'istio',
      key: 'prometheus',
      packages: { 'github.com/prometheus/prometheus/cmd/prometheus': 'prometheus' },
      names: {},
      variables: {},
      // The discovery mechanisms that are built: Debian's build lacks the one that is needed here.
      tags: ['remove_all_sd', 'enable_kubernetes_sd'],
    },
  ];
}

/** Istio's ambient tests, and programs that they run in the cluster. */
const suiteModule: Module = {
  folder: 'istio',
  key: 'istio-suite',
  packages: {
    'istio.io/istio/pkg/test/fakes/imageregistry': 'fake-registry',
    'sigs.k8s.io/gateway-api/conformance/echo-basic': 'echo-basic',
  },
  tests: { 'istio.io/istio/tests/integration/ambient': 'ambient.test' },
  names: {},
  variables: {},
  tags: ['integ'],
};

/** Builds the programs that the cache lacks or that are outdated, and returns their folder. */
export async function buildPrograms(progress: Progress): Promise<string> {
  await buildModules(modules(), progress);
  takeEnvoy();
  return programsFolder;
}

/** Builds Istio's ambient tests if the cache lacks them, and returns the program that runs them. */
export async function buildSuite(progress: Progress): Promise<string> {
  await buildModules([suiteModule], progress);
  return join(programsFolder, 'ambient.test');
}

async function buildModules(wanted: readonly Module[], progress: Progress): Promise<void> {
  mkdirSync(programsFolder, { recursive: true });
  for (const module of wanted) {
    const key = keyOf(module);
    const keyFile = join(programsFolder, `.${module.key ?? module.folder}.key`);
    const files = [...Object.values(module.packages), ...Object.values(module.tests ?? {})];
    const built = files.every((file) => existsSync(join(programsFolder, file)));
    if (built && existsSync(keyFile) && readFileSync(keyFile, 'utf8') === key) continue;
    await build(module, ['build'], module.packages, progress);
    // Vetting other projects' code takes as long as compiling it.
    if (module.tests !== undefined) await build(module, ['test', '-c', '-vet=off'], module.tests, progress);
    for (const [file, names] of Object.entries(module.names))
      for (const name of names) {
        rmSync(join(programsFolder, name), { force: true });
        symlinkSync(file, join(programsFolder, name));
      }
    writeFileSync(keyFile, key);
  }
}

/** Returns the source folder of a module from which Istio's programs are built, for its other files. */
export function moduleFolder(
  module: 'istio.io/istio' | 'sigs.k8s.io/gateway-api' | 'sigs.k8s.io/gateway-api/conformance',
): string {
  return execFileSync('go', ['list', '-m', '-f', '{{.Dir}}', module], {
    cwd: join(sources, 'istio'),
    encoding: 'utf8',
    env: goEnvironment(),
  }).trim();
}

/** Envoy is not built here: that of the benchmarks is used. */
function takeEnvoy(): void {
  let envoy = '';
  try {
    envoy = findEnvoy().path;
  } catch (error) {
    throw new MissingError(error instanceof Error ? error.message : String(error));
  }
  const file = join(programsFolder, 'envoy');
  const [from, to] = [statSync(envoy), statSync(file, { throwIfNoEntry: false })];
  if (to?.size === from.size && to.mtimeMs >= from.mtimeMs) return;
  copyFileSync(envoy, file);
}

/** Hash of all sources of a module's programs. */
function keyOf(module: Module): string {
  const hash = createHash('sha256')
    .update(JSON.stringify(module))
    .update(run('go', ['version']));
  const own = Object.keys(module.packages).filter((path) => path.startsWith('.'));
  for (const file of ['go.mod', 'go.sum', ...own.map((path) => join(path, 'main.go'))]) {
    const path = join(sources, module.folder, file);
    // A module without dependencies has no go.sum.
    if (existsSync(path)) hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

/** All packages in one run: some are compiled while another is linked. */
async function build(
  module: Module,
  verb: readonly string[],
  packages: Readonly<Record<string, string>>,
  progress: Progress,
): Promise<void> {
  const directory = join(sources, module.folder);
  const linked = Object.entries(module.variables).map(([name, value]) => `-X ${name}=${value}`);
  const made = join(programsFolder, '.made');
  rmSync(made, { recursive: true, force: true });
  const child = spawn(
    'go',
    [
      ...verb,
      '-v',
      '-trimpath',
      // Without debug information, which the linker would discard.
      '-gcflags=all=-dwarf=false',
      ...(module.tags === undefined ? [] : ['-tags', module.tags.join(',')]),
      '-ldflags',
      ['-s', '-w', ...linked].join(' '),
      ...['-o', `${made}/`],
      ...Object.keys(packages),
    ],
    { cwd: directory, env: goEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const files = Object.values(packages);
  const said: string[] = [];
  let compiled = 0;
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    // One line per package, and all other output of the compiler.
    if (/^[\w.-]+(?:\/[\w.@~-]+)*$/.test(line)) compiled += 1;
    progress.note(`${files.join(', ')}: ${compiled} packages compiled, now ${line}`);
  }
  if (child.exitCode === null) await once(child, 'close');
  if (child.exitCode !== 0)
    throw new Error(`go ${verb.join(' ')} in ${directory} failed:\n${said.slice(-20).join('\n')}`);
  for (const [path, file] of Object.entries(packages)) {
    const name = `${basename(join(directory, path))}${verb[0] === 'test' ? '.test' : ''}`;
    renameSync(join(made, name), join(programsFolder, file));
  }
  rmSync(made, { recursive: true });
}
