import assert from 'node:assert/strict';
import type { KubernetesObject, V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import type { Case } from './case.ts';
import {
  accessLine,
  answered,
  app,
  type Calls,
  call,
  callsUntil,
  callUntil,
  deployment,
  enrolled,
  having,
  identity,
  inside,
  onlyPod,
  outside,
  ports,
  type Scene,
} from './scene.ts';

const urls = (host: string): string[] => [
  `http://${host}:80`,
  `tcp://${host}:${ports.tcp}`,
  `tcp://${host}:${ports.serverFirst}`,
];
const serverFirst = (url: string): readonly string[] =>
  url.endsWith(`:${ports.serverFirst}`) ? ['--server-first'] : [];
const addressOf = (pod: V1Pod): string => pod.status?.podIP ?? '';
const nodeOf = (pod: V1Pod): string => pod.spec?.nodeName ?? '';

/** Calls from each client to each server, by the URLs of a server. */
async function eachToEach(
  scene: Scene,
  urlsOf: (server: string, pod: V1Pod) => readonly string[],
): Promise<void> {
  const clients = [await onlyPod(scene, 'client'), await onlyPod(scene, 'stranger', outside)];
  for (const client of clients)
    for (const server of ['near', 'far', 'client']) {
      const pod = await onlyPod(scene, server);
      for (const url of urlsOf(server, pod)) {
        const calls = answered(await call(scene, client, url, { count: 2, extra: serverFirst(url) }));
        assert.deepEqual(
          [...new Set(calls.servers)],
          url.startsWith('http:') ? [pod.metadata?.name] : calls.servers.slice(0, 1),
          `${url} from ${client.metadata?.name}: ${calls.text}`,
        );
      }
    }
}

/** Cases for any mesh. */
export const basicCases: readonly Case[] = [
  {
    name: 'pods of the mesh are enrolled by istio-cni, others are not',
    async run(scene) {
      for (const name of ['client', 'near', 'far']) await enrolled(await onlyPod(scene, name));
      await assert.rejects(enrolled(await onlyPod(scene, 'stranger', outside)), /not enrolled/);
    },
  },
  {
    name: 'IST-01, KME-01: every client reaches every server by its service: HTTP, TCP and server-first TCP',
    run: (scene) => eachToEach(scene, (server) => urls(`${server}.${inside}`)),
  },
  {
    name: 'IST-02, KME-02: every client reaches every pod by its address, its own too',
    run: (scene) =>
      eachToEach(scene, (_server, pod) => [
        `http://${addressOf(pod)}:${ports.http}`,
        `tcp://${addressOf(pod)}:${ports.tcp}`,
      ]),
  },
  {
    name: 'traffic between nodes is HBONE with the identities of both pods in both access logs',
    async run(scene) {
      const [client, far] = [await onlyPod(scene, 'client'), await onlyPod(scene, 'far')];
      answered(await call(scene, client, `http://far.${inside}:80`));
      const out = await accessLine(
        scene,
        nodeOf(client),
        (fields) => fields['direction'] === 'outbound' && fields['dst.workload'] === far.metadata?.name,
      );
      assert.equal(out['src.identity'], identity('client'), JSON.stringify(out));
      assert.equal(out['dst.identity'], identity('far'), JSON.stringify(out));
      assert.match(String(out['dst.addr']), /:15008$/, JSON.stringify(out));
      const into = await accessLine(
        scene,
        nodeOf(far),
        (fields) => fields['direction'] === 'inbound' && fields['src.workload'] === client.metadata?.name,
      );
      assert.equal(into['src.identity'], identity('client'), JSON.stringify(into));
    },
  },
  {
    name: 'a headless service, and a NodePort from outside the mesh, are reached',
    async run(scene) {
      const labels = { app: 'far' };
      const service = (name: string, spec: object): Manifest => ({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: inside } as Manifest['metadata'],
        spec: { selector: labels, ports: [{ name: 'http', port: ports.http }], ...spec },
      });
      const headless = service('headless', { clusterIP: 'None' });
      const open = service('open', { type: 'NodePort' });
      await scene.api.apply(headless, open);
      const far = await onlyPod(scene, 'far');
      const client = await onlyPod(scene, 'client');
      const url = `http://headless.${inside}:${ports.http}`;
      // The name is known once CoreDNS has seen the service.
      const calls = await callSoon(scene, client, url);
      assert.deepEqual(calls, [far.metadata?.name]);
      const node = await scene.api.read<KubernetesObject & { spec?: { ports?: { nodePort?: number }[] } }>(
        open,
      );
      const port = node?.spec?.ports?.[0]?.nodePort;
      const stranger = await onlyPod(scene, 'stranger', outside);
      assert.deepEqual(await callSoon(scene, stranger, `http://${far.status?.hostIP}:${port}`), [
        far.metadata?.name,
      ]);
      await scene.api.remove(headless, open);
    },
  },
  {
    name: 'IST-03: all pods of a service get connections',
    async run(scene) {
      const many = app('many', { namespace: inside, replicas: 3 });
      await having(scene, many, async () => {
        await scene.api.rolledOut(deployment('many'));
        const client = await onlyPod(scene, 'client');
        const pods = await scene.api.pods(inside, 'app=many');
        const url = `http://many.${inside}:80`;
        // istiod learns of ready pods one after the other.
        const isEach = ({ servers }: Calls): boolean => new Set(servers).size === pods.length;
        await callsUntil(scene, client, url, isEach, { count: 60 });
        const { servers } = answered(await call(scene, client, url, { count: 60 }));
        assert.deepEqual([...new Set(servers)].sort(), pods.map((pod) => pod.metadata?.name).sort());
      });
    },
  },
  {
    name: 'IST-12: a pod of the mesh reaches the Kubernetes API',
    async run(scene) {
      const client = await onlyPod(scene, 'client');
      const calls = await call(scene, client, 'https://kubernetes.default/version', {
        extra: ['--insecure-skip-verify'],
      });
      assert.match(answered(calls).text, /gitVersion/);
    },
  },
];

async function callSoon(scene: Scene, from: V1Pod, url: string): Promise<string[]> {
  return [...new Set((await callUntil(scene, from, url, 'answered')).servers)];
}
