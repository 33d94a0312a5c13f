import type { RecorderChannel } from '@kmesh/probe';
import type { NameRecord } from '../names/record.ts';

/** What the answering thread is started with. */
export interface DnsThreadData {
  readonly clusterDomain: string;
  readonly preferredNamespace: string | undefined;
  readonly ipv6: boolean;
  readonly mark: number | undefined;
  /** The proxy's own resolv.conf: for pods whose own is not known. */
  readonly resolvConf: string;
  /** Dedicated mode: that file's search domains are the client's. */
  readonly ownSearch: boolean;
  /** 53; only tests change it. */
  readonly upstreamPort: number;
  /** Whether unknown names are asked of the control plane before they are forwarded. */
  readonly onDemand: boolean;
  /** Absent: nothing is counted. */
  readonly recorder: RecorderChannel | undefined;
}

/** Descriptors of a pod's sockets; they belong to the answering thread. */
export interface PodSockets {
  readonly udp: readonly number[];
  readonly tcp: readonly number[];
  /** The pod's network namespace; undefined: the process's own. */
  readonly namespace: number | undefined;
}

/** What is known of the workload that asks. */
export interface ClientWorkload {
  readonly network: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadName: string;
  readonly addresses: readonly string[];
}

/** To the answering thread. */
export type ToThread =
  | {
      readonly kind: 'pod';
      readonly uid: string;
      readonly namespace: string;
      readonly sockets: PodSockets;
    }
  | { readonly kind: 'client'; readonly uid: string; readonly client: ClientWorkload | undefined }
  /** `put` replaces records of the same key, `remove` names keys. */
  | { readonly kind: 'names'; readonly put: readonly NameRecord[]; readonly remove: readonly string[] }
  | { readonly kind: 'remove'; readonly uid: string }
  /** Whether queries are logged. */
  | { readonly kind: 'log'; readonly queries: boolean }
  /** The names of a `demand` are known now, or known not to exist. */
  | { readonly kind: 'demanded'; readonly id: number }
  /** New queries go to the next instance; what is under way is answered. */
  | { readonly kind: 'drain' };

/** One query, for the log (contract 12). */
export interface QueryLine {
  readonly uid: string;
  readonly query: string;
  readonly domain: string;
  readonly result: string;
  readonly endpoints: string;
}

/** What happened to forwarded queries of one pod and resolver since the last report. */
export interface UpstreamTrouble {
  readonly uid: string;
  readonly server: string;
  readonly reason: string;
  readonly count: number;
}

/** From the answering thread. */
export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'demand'; readonly id: number; readonly names: readonly string[] }
  | { readonly kind: 'queries'; readonly lines: readonly QueryLine[]; readonly left: number }
  | { readonly kind: 'troubles'; readonly troubles: readonly UpstreamTrouble[] }
  /** Nothing is under way any more. */
  | { readonly kind: 'drained' };
