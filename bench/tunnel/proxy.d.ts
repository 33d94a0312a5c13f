/** One node's proxy in a process of its own; the benchmark tells it over IPC what to serve. */
import type { MeshUpdate } from '@kmesh/api';
import { type TunnelCertificate } from '@kmesh/tunnel';
/** What the parent sends first. */
export interface ProxyStart {
  readonly node: string;
  readonly updates: readonly MeshUpdate[];
  readonly certificates: Readonly<Record<string, TunnelCertificate>>;
  readonly pods: readonly {
    readonly uid: string;
    readonly name: string;
    readonly namespace: string;
    readonly serviceAccount: string;
    readonly path: string;
  }[];
}
