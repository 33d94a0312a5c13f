import type { Service, Workload } from '@kmesh/api';
/** A workload with the defaults of the local mesh file. */
export declare function workload(
  fields: Partial<Workload> & {
    readonly uid: string;
  },
): Workload;
/** A service with the defaults of the local mesh file. */
export declare function service(
  fields: Partial<Service> & {
    readonly hostname: string;
  },
): Service;
