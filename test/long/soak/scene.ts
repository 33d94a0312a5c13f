import {
  createLab,
  endpointText,
  keyOf,
  type Lab,
  type LabMesh,
  type Pod,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { serveRandomEndings } from '@kmesh/lab/testing/tunnel/random-endings.ts';
import { churn, dials, endings, type Lane, lane } from './load.ts';

/** Two nodes with the pods of the soak: the daemon of node 0 is never restarted, that of node 1 is. */
export interface SoakScene extends AsyncDisposable {
  readonly lab: Lab;
  readonly mesh: LabMesh;
  readonly pins: string;
  readonly lanes: readonly Lane[];
  /** Faults that explain failures now. */
  readonly now: { restarting: boolean; istiodAway: boolean; denied: 'yes' | 'no' | 'changing' };
  deny(on: boolean): Promise<void>;
}

/** Certificates are renewed at half their lifetime, each many times in a soak. */
const CERTIFICATE_SECONDS = 40;

export async function startSoak(): Promise<SoakScene> {
  const lab = await createLab();
  await lab.node();
  await lab.node();
  const root = await lab.bpffs();
  const pinsOf = (node: string) => `${root}/${node}`;
  const mesh = await startMesh(lab, {
    kernelPath: true,
    certificates: { lifetimeSeconds: CERTIFICATE_SECONDS },
    environment: (host) => ({ KMESH_PINS: pinsOf(host.name), RUST_LOG: 'info,access=error' }),
  });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: subject } = await mesh.pod({ name: 'subject' });
  const near = await mesh.pod({ name: 'near' });
  const far = await mesh.pod({ name: 'far' }, 1);
  const plain = await mesh.pod({ name: 'plain', captured: false }, 1);
  for (const { pod } of [near, far, plain]) await pod.serve({ port: 8080, mode: 'http' });
  const service = serviceOf({ name: 'mixed', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  await mesh.apply(service, ...[near, plain].map(({ workload }) => inService(workload, keyOf(service))));
  const ender = await mesh.pod({ name: 'ender', captured: false, workload: { protocol: 'HBONE' } }, 1);
  const waypoint = await serveRandomEndings(ender.pod, mesh.identity(ender.pod));
  await untilEnrolled(mesh, [client, subject, near.pod, far.pod]);
  await untilTablesFollow(mesh);
  const both = (pod: Pod, port: number) => [
    endpointText(pod.addresses.v4, port),
    endpointText(pod.addresses.v6, port),
  ];
  const now: SoakScene['now'] = { restarting: false, istiodAway: false, denied: 'no' };
  const lanes: Lane[] = [
    lane('same node', { round: dials(client, both(near.pod, 8080)) }),
    lane('service', {
      round: dials(
        client,
        service.vips.map(({ ip }) => endpointText(ip, 80)),
      ),
    }),
    lane('HBONE', { round: dials(client, both(far.pod, 8080)), isExplained: () => now.restarting }),
    lane('waypoint', { round: endings(waypoint, client) }),
    lane('churn', {
      round: churn(mesh, client, endpointText(near.pod.addresses.v4, 8080)),
      // A pod without a workload in the mesh is not served yet.
      isExplained: () => now.restarting || now.istiodAway,
    }),
    lane('policy', {
      round: async () => {
        const before = now.denied;
        const { done, failures } = await dials(subject, both(near.pod, 8080))();
        // An operation during a policy change may have either result.
        if (before === 'changing' || now.denied !== before) return { done: 0, failures: [] };
        if (before === 'no') return { done, failures };
        const allowed = Array.from({ length: done }, () => 'allowed although denied');
        return { done: failures.length, failures: allowed };
      },
    }),
  ];
  const denial = policy('Deny', {
    principals: [{ kind: 'Exact', value: `cluster.local/ns/default/sa/${subject.serviceAccount}` }],
  });
  return {
    ...{ lab, mesh, lanes, now, pins: pinsOf(mesh.node(0).node.name) },
    async deny(on) {
      now.denied = 'changing';
      await mesh.apply(on ? denial : without(denial));
      await untilTablesFollow(mesh);
      now.denied = on ? 'yes' : 'no';
    },
    async [Symbol.asyncDispose]() {
      waypoint.close();
      await mesh.close();
      await lab.close();
    },
  };
}

function inService<Record extends object>(
  workload: Record,
  key: string,
): Record & { services: Map<string, Map<number, number>> } {
  return { ...workload, services: new Map([[key, new Map()]]) };
}
