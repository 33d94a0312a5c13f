import { waitUntil } from '../wait.ts';
import { apiServer, network } from './addresses.ts';
import type { Credentials } from './credentials.ts';
import { type Machine, runIn, startIn, writeIn } from './machine.ts';

/** Users of the API server for its own programs. */
export const controlUsers = [
  { name: 'system:kube-controller-manager', groups: ['system:masters'] },
  { name: 'system:kube-scheduler', groups: [] },
] as const;

const folder = '/etc/kubernetes';

/** Starts etcd, the API server, the controllers and the scheduler, and waits until the API server is ready. */
export async function startControlPlane(machine: Machine, credentials: Credentials): Promise<void> {
  for (const [name, text] of Object.entries(credentials.files)) writeIn(machine, `${folder}/${name}`, text);
  writeIn(
    machine,
    `${folder}/controllers.kubeconfig`,
    credentials.kubeconfig('system:kube-controller-manager'),
  );
  writeIn(machine, `${folder}/scheduler.kubeconfig`, credentials.kubeconfig('system:kube-scheduler'));
  writeIn(machine, `${folder}/admin.kubeconfig`, credentials.kubeconfig('admin'));
  const etcd = 'http://127.0.0.1:2379';
  startIn(machine, 'etcd', [
    'etcd',
    ...['--data-dir', '/var/lib/etcd', '--listen-client-urls', etcd, '--advertise-client-urls', etcd],
    ...['--listen-peer-urls', 'http://127.0.0.1:2380', '--unsafe-no-fsync'],
  ]);
  startIn(machine, 'kube-apiserver', [
    'kube-apiserver',
    `--etcd-servers=${etcd}`,
    `--service-cluster-ip-range=${network.services}`,
    `--advertise-address=${network.control}`,
    `--service-account-issuer=https://kubernetes.default.svc.${network.domain}`,
    // The second audience is the one of Istio's tests.
    `--api-audiences=https://kubernetes.default.svc.${network.domain},kubernetes.default.svc`,
    `--service-account-key-file=${folder}/accounts.key`,
    `--service-account-signing-key-file=${folder}/accounts.key`,
    `--token-auth-file=${folder}/tokens.csv`,
    `--tls-cert-file=${folder}/apiserver.crt`,
    `--tls-private-key-file=${folder}/apiserver.key`,
    '--cert-dir=/tmp',
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    // It is not on a node: a webhook's service address cannot be reached there, its pod's address can.
    '--enable-aggregator-routing=true',
    '--kubelet-preferred-address-types=InternalIP',
  ]);
  const ready = async (): Promise<true | undefined> => {
    try {
      await runIn(machine, ['kubectl', `--kubeconfig=${folder}/admin.kubeconfig`, 'get', '--raw', '/readyz']);
      return true;
    } catch {
      return undefined;
    }
  };
  await waitUntil(`${apiServer} to be ready; its log is ${machine.logs}/kube-apiserver.log`, 90_000, ready, {
    everyMs: 200,
  });
  startIn(machine, 'kube-controller-manager', [
    'kube-controller-manager',
    `--kubeconfig=${folder}/controllers.kubeconfig`,
    `--service-account-private-key-file=${folder}/accounts.key`,
    `--root-ca-file=${folder}/ca.crt`,
    '--use-service-account-credentials=true',
    '--leader-elect=false',
    // The cases cut a node's power and wait until the cluster has detected it.
    '--node-monitor-grace-period=20s',
  ]);
  startIn(machine, 'kube-scheduler', [
    'kube-scheduler',
    `--kubeconfig=${folder}/scheduler.kubeconfig`,
    '--leader-elect=false',
  ]);
}
