import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { exportMachinePath } from '../../mesh/image-programs.ts';
import type { ztunnelDaemonSet } from './ztunnel-chart.ts';

/** A container to run: a DaemonSet's pod on a node, with the values that the node resolves. */
export interface NodePod {
  readonly daemonSet: ReturnType<typeof ztunnelDaemonSet>;
  /** Contents of the pod's ConfigMap and token, by volume and file. */
  readonly files: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Host paths of the node, where they differ from the manifest's. */
  readonly hostPaths: Readonly<Record<string, string>>;
  /** Values of `fieldRef`, by field path. */
  readonly fields: Readonly<Record<string, string>>;
  /** Values that a cluster would resolve by name. */
  readonly environment: Readonly<Record<string, string>>;
}

/** containerd's default capabilities. */
const defaultCapabilities = [
  ...['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FSETID', 'CAP_FOWNER', 'CAP_MKNOD', 'CAP_NET_RAW', 'CAP_SETGID'],
  ...['CAP_SETUID', 'CAP_SETFCAP', 'CAP_SETPCAP', 'CAP_NET_BIND_SERVICE', 'CAP_SYS_CHROOT', 'CAP_KILL'],
  'CAP_AUDIT_WRITE',
];

/** containerd and runc of this machine in separate directories; independent of any containerd service. */
export class ContainerRuntime implements AsyncDisposable {
  readonly #directory: string;
  readonly #daemon: ChildProcess;
  readonly #containers: string[] = [];
  #image = '';

  /** Use {@link startContainerRuntime}. */
  constructor(directory: string, daemon: ChildProcess) {
    this.#directory = directory;
    this.#daemon = daemon;
  }

  /** Runs `ctr` against this runtime and returns what it prints. */
  ctr(...args: string[]): string {
    const at = ['--address', join(this.#directory, 'socket'), ...args];
    return execFileSync('ctr', at, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Imports an image archive, from which containers are created. */
  import(archive: string): void {
    this.ctr('images', 'import', archive);
    this.#image = this.ctr('images', 'ls', '-q').trim();
  }

  /** Digest of the image's manifest. */
  digest(): string {
    return /sha256:[0-9a-f]{64}/.exec(this.ctr('images', 'ls'))?.[0] ?? '';
  }

  /**
   * Writes a program that becomes the pod's container, in the network namespace in which it is started. User and group
   * are the image's own: `ctr` cannot give others.
   */
  program(name: string, pod: NodePod): string {
    const directory = join(this.#directory, name);
    const { containers, volumes } = pod.daemonSet.spec.template.spec;
    const [container] = containers;
    if (container === undefined) throw new Error('the DaemonSet has no container');
    const sources = new Map<string, string>();
    for (const volume of volumes) {
      const own = join(directory, volume.name);
      const { hostPath } = volume;
      sources.set(
        volume.name,
        hostPath === undefined ? own : (pod.hostPaths[hostPath.path] ?? hostPath.path),
      );
      mkdirSync(own, { recursive: true });
      for (const [file, text] of Object.entries(pod.files[volume.name] ?? {}))
        writeFileSync(join(own, file), text);
    }
    const { capabilities, readOnlyRootFilesystem } = container.securityContext;
    const mounts = container.volumeMounts.map(
      ({ name: volume, mountPath, readOnly }) =>
        `type=bind,src=${sources.get(volume)},dst=${mountPath},options=rbind:${readOnly === true ? 'ro' : 'rw'}`,
    );
    const environment = container.env.map(({ name: variable, value, valueFrom }) => {
      const field = valueFrom?.fieldRef.fieldPath;
      const given = field === undefined ? value : pod.fields[field];
      return `${variable}=${pod.environment[variable] ?? given ?? ''}`;
    });
    const command = [
      ...['ctr', '--address', join(this.#directory, 'socket'), 'run', '--rm', '--allow-new-privs'],
      ...(readOnlyRootFilesystem ? ['--read-only'] : []),
      ...defaultCapabilities.flatMap((capability) => ['--cap-drop', capability]),
      ...capabilities.add.flatMap((capability) => ['--cap-add', `CAP_${capability}`]),
      ...mounts.flatMap((mount) => ['--mount', mount]),
      ...environment.flatMap((variable) => ['--env', variable]),
    ].map(quoted);
    this.#containers.push(name);
    const path = join(directory, 'run');
    const rest = [this.#image, name, '/usr/local/bin/kmesh', ...container.args].map(quoted);
    writeFileSync(
      path,
      `#!/bin/sh\n${exportMachinePath()}\nexec ${command.join(' ')} --with-ns "network:/proc/$$/ns/net" ${rest.join(' ')}\n`,
    );
    chmodSync(path, 0o755);
    return path;
  }

  /** Runs a program within a container, as `kubectl exec` does. */
  exec(name: string, ...command: string[]): string {
    return this.ctr('tasks', 'exec', '--exec-id', `exec-${performance.now()}`, name, ...command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#containers) {
      for (const args of [
        ['tasks', 'kill', '--signal', 'SIGKILL', name],
        ['tasks', 'rm', '--force', name],
        ['containers', 'rm', name],
      ])
        try {
          this.ctr(...args);
        } catch {
          // It may have ended already.
        }
    }
    const ended = new Promise((resolve) => this.#daemon.once('close', resolve));
    this.#daemon.kill('SIGTERM');
    await ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Starts containerd and waits until it answers. */
export async function startContainerRuntime(): Promise<ContainerRuntime> {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-containers-'));
  const unused = ['btrfs', 'zfs', 'devmapper', 'aufs'].map((name) => `io.containerd.snapshotter.v1.${name}`);
  writeFileSync(
    join(directory, 'config.toml'),
    [
      'version = 2',
      `root = "${join(directory, 'root')}"`,
      `state = "${join(directory, 'state')}"`,
      `disabled_plugins = ${JSON.stringify(['io.containerd.grpc.v1.cri', ...unused])}`,
      '[grpc]',
      `  address = "${join(directory, 'socket')}"`,
    ].join('\n'),
  );
  const daemon = spawn('containerd', ['--config', join(directory, 'config.toml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  daemon.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-4_000);
  });
  const runtime = new ContainerRuntime(directory, daemon);
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      runtime.ctr('version');
      return runtime;
    } catch (cause) {
      if (daemon.exitCode !== null || performance.now() > deadline)
        throw new Error(`containerd does not answer:\n${log}`, { cause });
      await delay(50);
    }
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
