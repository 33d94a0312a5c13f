/** Relevant values of the ztunnel chart (docs/contract.md 20.2). */
export interface ChartValues {
  readonly image: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly volumes?: readonly Volume[];
  readonly volumeMounts?: readonly VolumeMount[];
  readonly resources?: { readonly requests?: Requests; readonly limits?: Requests };
  readonly logLevel?: string;
  readonly terminationGracePeriodSeconds?: number;
}

interface Requests {
  readonly cpu?: string;
  readonly memory?: string;
}

/** A volume of a pod; the kinds that a DaemonSet of the chart has. */
export interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string; readonly type?: string };
  readonly emptyDir?: object;
  readonly configMap?: { readonly name: string };
  readonly projected?: { readonly sources: readonly object[] };
}

interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
  readonly mountPropagation?: string;
}

/** A variable: a value, or a field of the pod. */
interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } };
}

const revisionAddress = 'istiod.istio-system.svc:15012';
const fieldOf = (name: string, fieldPath: string): EnvironmentVariable => ({
  name,
  valueFrom: { fieldRef: { fieldPath } },
});

/**
 * Returns the DaemonSet that the ztunnel chart renders from these values with the ambient profile (docs/contract.md
 * 20.1). Written from the contract, so that manifests and containers can be tested without a cluster.
 */
export function ztunnelDaemonSet(values: ChartValues) {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'ztunnel', namespace: 'istio-system' },
    spec: {
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { app: 'ztunnel' } },
      template: {
        metadata: {
          labels: {
            'sidecar.istio.io/inject': 'false',
            'istio.io/dataplane-mode': 'none',
            app: 'ztunnel',
            'app.kubernetes.io/name': 'ztunnel',
          },
          annotations: {
            'sidecar.istio.io/inject': 'false',
            'prometheus.io/port': '15020',
            'prometheus.io/scrape': 'true',
          },
        },
        spec: {
          serviceAccountName: 'ztunnel',
          nodeSelector: { 'kubernetes.io/os': 'linux' },
          tolerations: [
            { effect: 'NoSchedule', operator: 'Exists' },
            { key: 'CriticalAddonsOnly', operator: 'Exists' },
            { effect: 'NoExecute', operator: 'Exists' },
          ],
          priorityClassName: 'system-node-critical',
          terminationGracePeriodSeconds: values.terminationGracePeriodSeconds ?? 30,
          containers: [
            {
              name: 'istio-proxy',
              image: values.image,
              args: ['proxy', 'ztunnel'],
              ports: [{ containerPort: 15020, name: 'ztunnel-stats', protocol: 'TCP' }],
              resources: values.resources ?? { requests: { cpu: '200m', memory: '512Mi' } },
              securityContext: {
                allowPrivilegeEscalation: true,
                privileged: false,
                capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'SYS_ADMIN', 'NET_RAW'] },
                readOnlyRootFilesystem: true,
                runAsGroup: 1337,
                runAsNonRoot: false,
                runAsUser: 0,
              },
              readinessProbe: { httpGet: { port: 15021, path: '/healthz/ready' } },
              env: environmentOf(values),
              volumeMounts: [
                { mountPath: '/var/run/secrets/istio', name: 'istiod-ca-cert' },
                { mountPath: '/var/run/secrets/tokens', name: 'istio-token' },
                { mountPath: '/var/run/ztunnel', name: 'cni-ztunnel-sock-dir' },
                { mountPath: '/tmp', name: 'tmp' },
                ...(values.volumeMounts ?? []),
              ] as VolumeMount[],
            },
          ],
          volumes: [
            {
              name: 'istio-token',
              projected: {
                sources: [
                  {
                    serviceAccountToken: {
                      path: 'istio-token',
                      expirationSeconds: 43_200,
                      audience: 'istio-ca',
                    },
                  },
                ],
              },
            },
            { name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } },
            {
              name: 'cni-ztunnel-sock-dir',
              hostPath: { path: '/var/run/ztunnel', type: 'DirectoryOrCreate' },
            },
            { name: 'tmp', emptyDir: {} },
            ...(values.volumes ?? []),
          ] as Volume[],
        },
      },
    },
  };
}

/** In the chart's order. */
function environmentOf({ env = {}, logLevel = 'info', terminationGracePeriodSeconds = 30 }: ChartValues) {
  const variables: EnvironmentVariable[] = [
    { name: 'CA_ADDRESS', value: revisionAddress },
    { name: 'XDS_ADDRESS', value: revisionAddress },
    { name: 'RUST_LOG', value: logLevel },
    { name: 'RUST_BACKTRACE', value: '1' },
    { name: 'ISTIO_META_CLUSTER_ID', value: 'Kubernetes' },
    { name: 'INPOD_ENABLED', value: 'true' },
    { name: 'TERMINATION_GRACE_PERIOD_SECONDS', value: `${terminationGracePeriodSeconds}` },
    fieldOf('POD_NAME', 'metadata.name'),
    fieldOf('POD_NAMESPACE', 'metadata.namespace'),
    fieldOf('NODE_NAME', 'spec.nodeName'),
    fieldOf('INSTANCE_IP', 'status.podIP'),
    fieldOf('SERVICE_ACCOUNT', 'spec.serviceAccountName'),
    { name: 'ISTIO_META_ENABLE_HBONE', value: 'true' },
    ...Object.entries(env).map(([name, value]) => ({ name, value })),
  ];
  return variables;
}
