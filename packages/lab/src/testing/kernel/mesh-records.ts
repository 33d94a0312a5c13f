import type { Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';

/** A workload with the defaults of the local mesh file. */
export function workload(fields: Partial<Workload> & { readonly uid: string }): Workload {
  return workloadRecord({
    name: fields.uid,
    trustDomain: '',
    serviceAccount: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadName: '',
    clusterId: '',
    ...fields,
  });
}

/** A service with the defaults of the local mesh file. */
export function service(fields: Partial<Service> & { readonly hostname: string }): Service {
  return serviceRecord({ name: fields.hostname.split('.')[0] ?? '', ...fields });
}
