import type { MeshUpdate } from '@kmesh/api';
import { service, workload } from '@kmesh/lab/testing/kernel/mesh-records.ts';
import { formatIp } from '@kmesh/orchestration';

export const ENDPOINTS_PER_SERVICE = 10;

/** Services `from` to `to`, service i at 10.0.0.1 + i, port 80, with ten endpoints of their own. */
export function* meshUpdates(from: number, to: number): Generator<MeshUpdate> {
  for (let index = from; index < to; index++) {
    const hostname = `service-${index}.bench`;
    const ip = addressOf(0x0a00_0001 + index);
    yield {
      kind: 'service',
      service: service({ hostname, vips: [{ network: '', ip }], ports: new Map([[80, 8080]]) }),
    };
    for (let endpoint = 0; endpoint < ENDPOINTS_PER_SERVICE; endpoint++) {
      const number = index * ENDPOINTS_PER_SERVICE + endpoint;
      yield {
        kind: 'workload',
        workload: workload({
          uid: `Kubernetes//Pod/default/pod-${number}`,
          addresses: [addressOf(0x0b00_0001 + number)],
          services: new Map([[`default/${hostname}`, new Map()]]),
        }),
      };
    }
  }
}

function addressOf(value: number): string {
  return formatIp({ family: 4, a: value, b: 0, c: 0, d: 0 });
}
