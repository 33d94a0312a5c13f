import type { Identity, Workload } from '@kmesh/api';
import { type AddressPair, type Host, type LabMesh, type Pod, workloadOf } from '@kmesh/lab';

/** Source of a connection, its own socket options, and the identity that the mesh can verify. */
export interface Caller {
  readonly name: string;
  readonly host: Host;
  /** Identity by certificate, or by the kernel on the same node; `undefined` for plaintext. */
  readonly identity: Identity | undefined;
  /** Source addresses for policies. */
  readonly seen: AddressPair;
  /** Identity that the kernel path attests for packets that are not captured. */
  readonly attestedAs?: Caller['identity'];
  /** In the mesh, with captured connections: not with the proxy's mark. */
  readonly captured: boolean;
  readonly sameNode: boolean;
  /** The kernel path may serve it: its pod is on this node, and its sockets have no special options. */
  readonly kernelMayServe: boolean;
  readonly mark?: number;
  readonly sources?: readonly string[];
}

/** The kernel path's mark, the proxy's, and another one. */
export const marks = { kernelPath: 0x4b4d, proxy: 0x539, other: 0x70000 } as const;

interface Place {
  readonly node: 0 | 1;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Pods in the mesh: on both nodes, in the policies' namespace and another, with two service accounts. */
const places: Readonly<Record<string, Place>> = {
  friend: { node: 0, namespace: 'shop', serviceAccount: 'sa-friend' },
  kin: { node: 0, namespace: 'other', serviceAccount: 'sa-friend' },
  remote: { node: 1, namespace: 'shop', serviceAccount: 'sa-friend' },
  'remote-kin': { node: 1, namespace: 'other', serviceAccount: 'sa-other' },
};

/** Every kind of caller of servers on the first node; pods of both nodes are captured. */
export async function makeCallers(mesh: LabMesh): Promise<Caller[]> {
  const outside = await mesh.lab.outsideHost();
  const pods: Caller[] = [];
  for (const [at, [name, place]] of Object.entries(places).entries()) {
    const variant = at % 2 === 0 ? 'iptables' : 'nftables';
    const { pod } = await mesh.pod(podOptions(name, place, { variant }), place.node);
    pods.push(enrolled(name, pod, place));
    const { pod: plain } = await mesh.pod(podOptions(`plain-${name}`, place, false), place.node);
    pods.push(plaintext(`plain-${name}`, plain, place.node === 0));
  }
  const nodes = [0, 1].map((node) => {
    const { node: host } = mesh.node(node);
    // A node dials its own pods from the address of the bridge, those of the other node from its own address.
    const bridge = { v4: '10.1.0.1', v6: 'fd00:10:1::1' };
    return {
      ...plaintext(`host network of ${host.name}`, host, node === 0),
      seen: node === 0 ? bridge : host.addresses,
    };
  });
  return [
    ...pods,
    ...nodes,
    plaintext('outside', outside, false),
    ...(await spoofing(mesh)),
    ...(await marking(mesh, outside)),
  ];
}

function podOptions(name: string, place: Place, captured: false | { variant: 'iptables' | 'nftables' }) {
  return { name, namespace: place.namespace, serviceAccount: place.serviceAccount, captured };
}

function enrolled(name: string, pod: Pod, place: Place): Caller {
  const identity = { trustDomain: 'cluster.local', ...place };
  const near = place.node === 0;
  return {
    name,
    host: pod,
    identity,
    seen: pod.addresses,
    captured: true,
    sameNode: near,
    kernelMayServe: near,
  };
}

function plaintext(name: string, host: Host, sameNode: boolean): Caller {
  const { addresses: seen } = host;
  return { name, host, identity: undefined, seen, captured: false, sameNode, kernelMayServe: true };
}

/** Pods that have, and dial from, an address that belongs to a friend in the mesh state. */
async function spoofing(mesh: LabMesh): Promise<Caller[]> {
  const callers: Caller[] = [];
  for (const node of [0, 1] as const) {
    for (const captured of [true, false]) {
      const name = `${captured ? 'thief' : 'plain-thief'}-${node}`;
      const place: Place = { node, namespace: 'other', serviceAccount: 'sa-thief' };
      const { pod } = await mesh.pod(podOptions(name, place, captured && { variant: 'iptables' }), node);
      const host = captured ? 251 : 252;
      const stolen = { v4: `10.${node + 1}.200.${host}`, v6: `fd00:10:${node + 1}::${host}` };
      await mesh.apply(ghost(name, pod, stolen));
      await pod.addAddress(stolen.v4, 'lo');
      // Deprecated, so that it is never the default source address of the pod.
      const deprecated = ['preferred_lft', '0', 'nodad'];
      await pod.run('ip', ['addr', 'add', `${stolen.v6}/128`, 'dev', 'eth0', ...deprecated]);
      const sources = Object.values(stolen);
      const base = captured
        ? { ...enrolled(name, pod, place), kernelMayServe: false }
        : { ...plaintext(name, pod, node === 0), seen: stolen };
      callers.push({ ...base, sources });
    }
  }
  return callers;
}

/** A workload of the friend's identity whose pod does not exist. */
function ghost(name: string, pod: Pod, addresses: AddressPair): Workload {
  const account = { podNamespace: 'shop', serviceAccount: 'sa-friend' };
  const identity = { uid: `ghost-${name}`, name: `ghost-${name}`, labels: {}, node: pod.node, ...account };
  return workloadOf({ ...identity, addresses }, { protocol: 'HBONE' });
}

/** Programs with the privilege to set a mark. */
async function marking(mesh: LabMesh, outside: Host): Promise<Caller[]> {
  const callers: Caller[] = [];
  for (const node of [0, 1] as const) {
    for (const [kind, mark] of Object.entries(marks)) {
      const name = `marked-${kind.toLowerCase()}-${node}`;
      const place: Place = { node, namespace: 'shop', serviceAccount: 'sa-friend' };
      const { pod } = await mesh.pod(podOptions(name, place, { variant: 'nftables' }), node);
      const base = enrolled(name, pod, place);
      // With the proxy's mark it bypasses its own capture. The wire still identifies its pod by the interface; for
      // everything else it has no identity.
      if (mark === marks.proxy) {
        const attested = node === 0 ? { attestedAs: base.identity } : {};
        callers.push({ ...plaintext(name, pod, node === 0), mark, ...attested });
      } else
        callers.push({ ...base, kernelMayServe: base.kernelMayServe && mark === marks.kernelPath, mark });
    }
  }
  const place: Place = { node: 0, namespace: 'shop', serviceAccount: 'sa-friend' };
  const { pod } = await mesh.pod(podOptions('plain-marked', place, false));
  callers.push({ ...plaintext('plain-marked', pod, true), mark: marks.kernelPath });
  const other = await mesh.lab.outsideHost();
  callers.push({ ...plaintext('outside, marked', other, false), mark: marks.kernelPath });
  callers.push({ ...plaintext('outside, marked as a proxy', outside, false), mark: marks.proxy });
  return callers;
}
