import * as http from 'node:http';
import * as https from 'node:https';
import { PassThrough, Writable } from 'node:stream';
import {
  CoreV1Api,
  Exec,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
  PortForward,
  type V1Pod,
  type V1Service,
  type V1Status,
} from '@kubernetes/client-node';
import { waitUntil } from '../wait.ts';

/** A manifest, or an object of the API server. */
export type Manifest = KubernetesObject & {
  readonly metadata: { readonly name: string };
  [field: string]: unknown;
};

/** Result of a command in a container. */
export interface ExecResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Statuses for an object that does not exist, is not known yet, or has changed. */
const NOT_FOUND = 404;
const CONFLICT = 409;
/** An API server or a webhook's pod that is starting answers shortly afterwards. */
const ATTEMPT_MS = 30_000;

/** The cluster through its API server. */
export class Api {
  readonly config: KubeConfig;
  readonly #objects: KubernetesObjectApi;
  readonly #core: CoreV1Api;

  /** `text` is a kubeconfig, YAML or JSON. */
  constructor(text: string) {
    this.config = new KubeConfig();
    this.config.loadFromString(text);
    this.#objects = KubernetesObjectApi.makeApiClient(this.config);
    this.#core = this.config.makeApiClient(CoreV1Api);
  }

  /** Creates or updates objects from manifests. Retries while a webhook cannot be reached. */
  async apply(...manifests: readonly Manifest[]): Promise<void> {
    for (const manifest of manifests) {
      let last = '';
      await waitUntil(
        `${manifest.kind ?? ''} ${manifest.metadata.name} to be taken`,
        ATTEMPT_MS,
        async () => {
          try {
            await this.#objects.patch(
              manifest,
              undefined,
              undefined,
              'kmesh-cluster',
              true,
              PatchStrategy.ServerSideApply,
            );
            return true;
          } catch (error) {
            if (codeOf(error) < 500 && codeOf(error) !== NOT_FOUND) throw error;
            last = String(error);
            return undefined;
          }
        },
        { everyMs: 300, state: () => last },
      );
    }
  }

  /** Removes objects and waits until they no longer exist. */
  async remove(...manifests: readonly Manifest[]): Promise<void> {
    for (const manifest of manifests)
      try {
        await this.#objects.delete(manifest, undefined, undefined, undefined, undefined, 'Foreground');
      } catch (error) {
        if (codeOf(error) !== NOT_FOUND) throw error;
      }
    for (const manifest of manifests)
      await waitUntil(
        `${manifest.kind ?? ''} ${manifest.metadata.name} to be gone`,
        90_000,
        async () => ((await this.read(manifest)) === undefined ? true : undefined),
        { everyMs: 200 },
      );
  }

  /** Undefined when there is no such object. */
  async read<T extends KubernetesObject>(of: Manifest): Promise<T | undefined> {
    try {
      const { namespace, name } = of.metadata as { namespace?: string; name: string };
      return (await this.#objects.read({
        apiVersion: of.apiVersion ?? 'v1',
        kind: of.kind ?? '',
        metadata: namespace === undefined ? { name } : { name, namespace },
      } as never)) as T;
    } catch (error) {
      if (codeOf(error) === NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** Changes some fields of an object; `null` removes one. */
  async merge(change: Manifest): Promise<void> {
    await this.#objects.patch(
      change,
      undefined,
      undefined,
      'kmesh-cluster',
      undefined,
      PatchStrategy.MergePatch,
    );
  }

  /** Names of all namespaces, or of those with these labels. */
  async namespaces(labels = ''): Promise<string[]> {
    const { items } = await this.#core.listNamespace(labels === '' ? {} : { labelSelector: labels });
    return items.map((namespace) => namespace.metadata?.name ?? '');
  }

  /** Pods of a namespace with these labels, except those that are being removed. */
  async pods(namespace: string, labels = ''): Promise<V1Pod[]> {
    const { items } = await this.#core.listNamespacedPod({
      namespace,
      ...(labels === '' ? {} : { labelSelector: labels }),
    });
    return items.filter((pod) => pod.metadata?.deletionTimestamp === undefined);
  }

  /** Services of all namespaces. */
  async services(): Promise<V1Service[]> {
    return (await this.#core.listServiceForAllNamespaces()).items;
  }

  /**
   * Sets the external address of a service of type LoadBalancer. Returns false if the service changed or was removed
   * meanwhile.
   */
  async setBalancer(service: V1Service, ip: string): Promise<boolean> {
    const { name = '', namespace = '' } = service.metadata ?? {};
    const body = { ...service, status: { ...service.status, loadBalancer: { ingress: [{ ip }] } } };
    try {
      await this.#core.replaceNamespacedServiceStatus({ name, namespace, body });
      return true;
    } catch (error) {
      if (codeOf(error) === NOT_FOUND || codeOf(error) === CONFLICT) return false;
      throw error;
    }
  }

  /** Events of a namespace, a line each, the oldest first. */
  async events(namespace: string): Promise<string[]> {
    const { items } = await this.#core.listNamespacedEvent({ namespace });
    const time = (event: (typeof items)[number]): number => +(event.lastTimestamp ?? event.eventTime ?? 0);
    return items
      .sort((a, b) => time(a) - time(b))
      .map(
        (event) =>
          `${event.lastTimestamp?.toISOString() ?? ''} ${event.involvedObject.kind}/${event.involvedObject.name} ${event.reason}: ${event.message}`,
      );
  }

  /** Returns the log of a container, by default the pod's first; with `previous` that of its previous instance. */
  async log(
    pod: V1Pod,
    {
      previous = false,
      container = pod.spec?.containers[0]?.name ?? '',
    }: { readonly previous?: boolean; readonly container?: string } = {},
  ): Promise<string> {
    return await this.#core.readNamespacedPodLog({
      namespace: pod.metadata?.namespace ?? '',
      name: pod.metadata?.name ?? '',
      container,
      previous,
    });
  }

  /** Returns a kubelet's answer to a path. */
  async kubelet(node: string, path: string): Promise<string> {
    return await this.#core.connectGetNodeProxyWithPath({ name: node, path });
  }

  /** Returns a service's answer to a GET of a path, which may have a query. */
  async service(
    of: { readonly name: string; readonly namespace: string },
    port: number,
    path: string,
  ): Promise<string> {
    const { server } = this.config.getCurrentCluster() ?? { server: '' };
    const place = `${server}/api/v1/namespaces/${of.namespace}/services/${of.name}:${port}/proxy`;
    const options: https.RequestOptions = {};
    await this.config.applyToHTTPSOptions(options);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const client = server.startsWith('http:') ? http : https;
    client
      .get(`${place}/${path}`, options, (response) => {
        const { stream, text } = collecting();
        response.pipe(stream).on('finish', () => {
          if (response.statusCode === 200) resolve(text());
          else reject(new Error(`${of.name} answered ${response.statusCode}: ${text()}`));
        });
        response.on('error', reject);
      })
      .on('error', reject);
    return await promise;
  }

  /** Runs a command in a pod's first container, and waits for its end. */
  async exec(pod: V1Pod, command: readonly string[]): Promise<ExecResult> {
    const stdout = collecting();
    const stderr = collecting();
    const { promise, resolve, reject } = Promise.withResolvers<V1Status>();
    const socket = await new Exec(this.config).exec(
      pod.metadata?.namespace ?? '',
      pod.metadata?.name ?? '',
      pod.spec?.containers[0]?.name ?? '',
      [...command],
      stdout.stream,
      stderr.stream,
      null,
      false,
      resolve,
    );
    socket.onclose = () =>
      reject(new Error(`the connection to ${pod.metadata?.name} closed: ${command.join(' ')}`));
    const status = await promise;
    const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
    return {
      code: status.status === 'Success' ? 0 : Number(cause ?? 255),
      stdout: stdout.text(),
      stderr:
        stderr.text() + (cause === undefined && status.status !== 'Success' ? (status.message ?? '') : ''),
    };
  }

  /** Sends text to a port of a pod, forwarded as `kubectl port-forward` does, and returns what came back until `ends` matches it. */
  async forward(pod: V1Pod, port: number, text: string, ends: RegExp): Promise<string> {
    const { metadata } = pod;
    const [output, errors, input] = [collecting(), collecting(), new PassThrough()];
    const socket = await new PortForward(this.config).portForward(
      metadata?.namespace ?? '',
      metadata?.name ?? '',
      [port],
      output.stream,
      errors.stream,
      input,
    );
    try {
      input.write(text);
      return await waitUntil(
        `an answer of port ${port} of ${metadata?.name}`,
        20_000,
        () => (ends.test(output.text()) ? output.text() : undefined),
        { state: () => output.text() + errors.text() },
      );
    } finally {
      if (typeof socket === 'function') socket()?.close();
      else socket.close();
    }
  }

  /** Waits until a Deployment or DaemonSet has all its pods, of its newest description, ready. */
  async rolledOut(of: Manifest, limitMs = 120_000): Promise<void> {
    let state = 'not there';
    await waitUntil(
      `${of.kind ?? ''} ${of.metadata.name} to have all pods ready`,
      limitMs,
      async () => {
        const found = await this.read<Rollable>(of);
        if (found === undefined) return undefined;
        const { status = {} } = found;
        state = JSON.stringify(status);
        if (status.observedGeneration !== found.metadata?.generation) return undefined;
        const wanted = found.kind === 'DaemonSet' ? status.desiredNumberScheduled : found.spec?.replicas;
        const updated = status.updatedNumberScheduled ?? status.updatedReplicas ?? 0;
        const ready = status.numberReady ?? status.readyReplicas ?? 0;
        const all = status.currentNumberScheduled ?? status.replicas ?? 0;
        return wanted !== undefined && updated === wanted && ready === wanted && all === wanted
          ? true
          : undefined;
      },
      { everyMs: 200, state: () => state },
    );
  }
}

interface Rollable extends KubernetesObject {
  readonly spec?: { readonly replicas?: number };
  readonly status?: Readonly<Record<string, number | undefined>>;
}

function collecting(): { stream: Writable; text: () => string } {
  const parts: Buffer[] = [];
  const stream = new Writable({
    write(part: Buffer, _encoding, done) {
      parts.push(Buffer.from(part));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(parts).toString('utf8') };
}

/** The answer's HTTP status; 599 if there was no answer. */
function codeOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  return typeof code === 'number' ? code : 599;
}
