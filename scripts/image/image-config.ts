/** Metadata of the image. The Dockerfile contains the same. */
export interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly WorkingDir: string;
  readonly Labels: Readonly<Record<string, string>>;
}

/** The configuration of an image of this version. Arguments come from the DaemonSet: `proxy ztunnel`. */
export function imageConfig(version: string, istioVersion: string): ImageConfig {
  return {
    User: '0:1337',
    Env: [
      'PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      // What istioctl and the dashboards show as the version of the data plane.
      `ISTIO_META_ISTIO_VERSION=${istioVersion}`,
    ],
    Entrypoint: ['/usr/local/bin/kmesh'],
    WorkingDir: '/',
    Labels: {
      'org.opencontainers.image.title': 'kmesh',
      'org.opencontainers.image.description': 'Kmesh: the node proxy of an Istio ambient mesh',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': 'Apache-2.0',
    },
  };
}
