import type { MeshUpdate, Service } from '@kmesh/api';
import { type FakeCniAgent, startFakeCniAgent } from '../../cni/fake-cni-agent.ts';
import { startFakeIstiod } from '../../istiod/fake-istiod.ts';
import type { FakeIstiod } from '../../istiod/istiod-interface.ts';
import { relayInto } from '../../mesh/istiod-relay.ts';
import { keyOf, serviceOf, workloadOf } from '../../mesh/records.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { Node } from '../../pods/node.ts';
import type { Pod } from '../../pods/pod.ts';
import type { Serving } from '../../traffic/serve.ts';
import { type DaemonProcess, startDaemonProcess } from './daemon-process.ts';
import { istiodEnvironment } from './istiod-environment.ts';

/** A node with the real daemon, a client and a service of two pods; everything else comes from the lab. */
export interface SmallMesh extends AsyncDisposable {
  readonly lab: Lab;
  readonly node: Node;
  readonly client: Pod;
  readonly web: readonly [Pod, Pod];
  readonly service: Service;
  readonly serviceIp: string;
  readonly istiod: FakeIstiod;
  readonly agent: FakeCniAgent;
  readonly daemon: DaemonProcess;
  /** The running echo servers of the service's pods. */
  readonly servers: readonly Serving[];
  /** Starts them again after they were stopped. */
  serve(): Promise<void>;
}

interface SmallMeshOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Pods are redirected to the proxy, as on a real node. */
  readonly captured?: boolean;
  /** Further mesh objects. */
  readonly mesh?: (node: Node) => readonly MeshUpdate[];
}

/** Service port 80 of `shop/web`, which leads to 8080 of the pods. */
export async function startSmallMesh(options: SmallMeshOptions = {}): Promise<SmallMesh> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  const node = await lab.node({ name: 'node1' });
  const client = await node.pod({ name: 'client', namespace: 'shop' });
  const web: [Pod, Pod] = [
    await node.pod({ name: 'web-1', namespace: 'shop', serviceAccount: 'web' }),
    await node.pod({ name: 'web-2', namespace: 'shop', serviceAccount: 'web' }),
  ];
  let servers: Serving[] = [];
  const serve = async (): Promise<void> => {
    servers = await Promise.all(web.map((pod) => pod.serve({ port: 8080, mode: 'echo' })));
  };
  await serve();
  const vips = lab.serviceAddress();
  const service = serviceOf({ name: 'web', namespace: 'shop', vips, ports: { 80: 8080 } });
  const istiod = await startFakeIstiod({
    mesh: [
      { kind: 'service', service },
      { kind: 'workload', workload: workloadOf(client) },
      ...web.map(
        (pod): MeshUpdate => ({
          kind: 'workload',
          workload: workloadOf(pod, { services: { [keyOf(service)]: {} } }),
        }),
      ),
      ...(options.mesh?.(node) ?? []),
    ],
  });
  stack.defer(() => istiod.close());
  stack.defer(await relayInto(node, 15012, istiod.xdsAddress));
  const agent = stack.use(startFakeCniAgent(lab, options.captured === true ? {} : { redirect: false }));
  for (const pod of [client, ...web]) await agent.addPod(pod);
  const daemon = stack.use(
    startDaemonProcess({
      host: node,
      environment: {
        ...istiodEnvironment(istiod),
        NODE_NAME: node.name,
        INPOD_UDS: agent.path,
        KMESH_KERNEL_PATH: 'true',
        KMESH_CGROUP: lab.cgroup,
        ...options.environment,
      },
    }),
  );
  await daemon.ready();
  const owned = stack.move();
  return {
    lab,
    node,
    client,
    web,
    service,
    serviceIp: vips.v4,
    istiod,
    agent,
    daemon,
    get servers() {
      return servers;
    },
    serve,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
