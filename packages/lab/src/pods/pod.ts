import { Host, type HostPlace, type LabResources } from './host.ts';

export interface PodOptions {
  /** Unique on its node. */
  readonly name: string;
  /** Kubernetes namespace; `default` when absent. */
  readonly namespace?: string;
  /** `default` when absent. */
  readonly serviceAccount?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What Kubernetes and the CNI agent know of a pod. */
export interface PodIdentity {
  readonly uid: string;
  readonly name: string;
  readonly podNamespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Name of the node. */
  readonly node: string;
}

/** A pod: a host behind its node's bridge, with an identity of its own. Made by `node.pod`. */
export class Pod extends Host implements PodIdentity {
  readonly uid: string;
  readonly podNamespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly node: string;

  constructor(place: HostPlace, identity: Omit<PodIdentity, 'name'>, resources: LabResources) {
    super(place, resources);
    this.uid = identity.uid;
    this.podNamespace = identity.podNamespace;
    this.serviceAccount = identity.serviceAccount;
    this.labels = identity.labels;
    this.node = identity.node;
  }
}
