import assert from 'node:assert/strict';
import { type LabMesh, startMesh } from '../../mesh/lab-mesh.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';
import { untilEnrolled } from './paths.ts';

/** Rules of the client's pod; without any, only the connect hook hands its connections to the proxy. */
type Capture = { readonly variant: 'iptables' | 'nftables' } | false;

/** A client on the first node and a server that doubles on port 8080 of the second, both with HBONE. */
export interface HandoffScene extends AsyncDisposable {
  readonly lab: Lab;
  readonly mesh: LabMesh;
  readonly client: Pod;
  readonly far: Pod;
}

/** Starts two nodes whose proxies use the hand-off, unless the settings disable it. */
export async function handoffScene(
  capture: Capture,
  settings: Readonly<Record<string, string>> | ((lab: Lab) => Promise<Readonly<Record<string, string>>>) = {},
): Promise<HandoffScene> {
  const lab = await createLab();
  try {
    await lab.node();
    await lab.node();
    const more = typeof settings === 'function' ? await settings(lab) : settings;
    // Each node has its own directory of pins.
    const environment = (host: { readonly name: string }) => ({
      KMESH_HANDOFF: 'true',
      ...Object.fromEntries(
        Object.entries(more).map(([name, value]) => [
          name,
          name === 'KMESH_PINS' ? `${value}/${host.name}` : value,
        ]),
      ),
    });
    const mesh = await startMesh(lab, { kernelPath: true, environment });
    const client = await enrolPod(mesh, 'client', 0, capture);
    // The rules also route replies of an application to a preserved source address.
    const far = await enrolPod(mesh, 'far', 1, capture === false ? { variant: 'iptables' } : capture);
    await far.serve({ port: 8080, mode: 'double' });
    return {
      ...{ lab, mesh, client, far },
      async [Symbol.asyncDispose]() {
        await mesh.close();
        await lab.close();
      },
    };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Creates a pod of the mesh; returns once the kernel path serves it. */
async function enrolPod(mesh: LabMesh, name: string, node: number, capture: Capture): Promise<Pod> {
  const { pod } = await mesh.pod({ name, captured: false, workload: { protocol: 'HBONE' } }, node);
  const problem = await mesh
    .node(node)
    .agent.addPod(pod, capture === false ? false : { dns: false, ...capture });
  assert.equal(problem, '');
  await untilEnrolled(mesh, [pod], { captured: capture !== false });
  return pod;
}

/** Connections that conntrack follows in a pod. */
export async function trackedConnections(pod: Pod): Promise<number> {
  return Number((await pod.run('cat', ['/proc/sys/net/netfilter/nf_conntrack_count'])).stdout);
}
