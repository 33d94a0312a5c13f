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

/** A pod's identity in Kubernetes and for the CNI agent. */
export interface PodIdentity {
  readonly uid: string;
  readonly name: string;
  readonly podNamespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Name of the node. */
  readonly node: string;
}

/** A pod: a host behind its node's bridge, with its own identity. Created by `node.pod`. */
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
