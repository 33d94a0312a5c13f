import type { KernelEventResolver } from '@kmesh/runtime';
import { workload } from './traffic.ts';

/** What the ids of the emitted events mean: 32 client pods, 64 server pods, 16 services. */
export function emitterResolver(): KernelEventResolver {
  const clients = Array.from({ length: 32 }, (_, index) =>
    workload(`client-${index}`, `10.0.0.${index + 1}`),
  );
  const servers = Array.from({ length: 64 }, (_, index) =>
    workload(`server-${index}`, `10.1.0.${index + 1}`),
  );
  const services = Array.from({ length: 16 }, (_, index) => ({
    name: `service-${index}`,
    namespace: 'default',
    hostname: `service-${index}.default.svc.cluster.local`,
  }));
  return {
    podWorkload: (netnsCookie) => clients[netnsCookie - 1],
    workload: (id) => servers[id - 1],
    service: (id) => services[id - 1],
    workloadByAddress: () => undefined,
    inboundService: () => undefined,
  };
}
