import type { RecorderChannel } from '@kmesh/probe';
import type { NameRecord } from '../names/record.ts';

/** Start data of the answering thread. */
export interface DnsThreadData {
  readonly clusterDomain: string;
  readonly preferredNamespace: string | undefined;
  readonly ipv6: boolean;
  readonly mark: number | undefined;
  /** The proxy's own resolv.conf, for pods whose own is unknown. */
  readonly resolvConf: string;
  /** Dedicated mode: the client has the search domains of that file. */
  readonly ownSearch: boolean;
  /** Port of the resolvers: 53; only tests change it. */
  readonly upstreamPort: number;
  /** Whether unknown names are requested from the control plane before queries are forwarded. */
  readonly onDemand: boolean;
  /** `undefined`: no metrics. */
  readonly recorder: RecorderChannel | undefined;
}

/** Descriptors of a pod's sockets, owned by the answering thread. */
export interface PodSockets {
  readonly udp: readonly number[];
  readonly tcp: readonly number[];
  /** The pod's network namespace; `undefined` for the process's own. */
  readonly namespace: number | undefined;
}

/** The client's workload. */
export interface ClientWorkload {
  readonly network: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadName: string;
  readonly addresses: readonly string[];
}

/** Messages to the answering thread. */
export type ToThread =
  | {
      readonly kind: 'pod';
      readonly uid: string;
      readonly namespace: string;
      readonly sockets: PodSockets;
    }
  | { readonly kind: 'client'; readonly uid: string; readonly client: ClientWorkload | undefined }
  /** `put` adds records, replacing those of the same key; `remove` lists keys. */
  | { readonly kind: 'names'; readonly put: readonly NameRecord[]; readonly remove: readonly string[] }
  | { readonly kind: 'remove'; readonly uid: string }
  /** Sets whether queries are logged. */
  | { readonly kind: 'log'; readonly queries: boolean }
  /** The names of a `demand` have arrived or do not exist. */
  | { readonly kind: 'demanded'; readonly id: number }
  /** Leaves new queries to the next instance; pending ones are answered. */
  | { readonly kind: 'drain' };

/** One query, for the log (contract 12). */
export interface QueryLine {
  readonly uid: string;
  readonly query: string;
  readonly domain: string;
  readonly result: string;
  readonly endpoints: string;
}

/** A problem with forwarded queries of one pod and resolver since the last report. */
export interface UpstreamTrouble {
  readonly uid: string;
  readonly server: string;
  readonly reason: string;
  readonly count: number;
}

/** Messages from the answering thread. */
export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'demand'; readonly id: number; readonly names: readonly string[] }
  | { readonly kind: 'queries'; readonly lines: readonly QueryLine[]; readonly left: number }
  | { readonly kind: 'troubles'; readonly troubles: readonly UpstreamTrouble[] }
  /** A pod whose sockets the thread could not use, and has closed. */
  | { readonly kind: 'unserved'; readonly uid: string; readonly error: string }
  /** No query is pending any more. */
  | { readonly kind: 'drained' };
