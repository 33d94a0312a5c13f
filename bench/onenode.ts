/**
 * A client and a server in two pods of one node, without a mesh, with Kmesh and with sidecars. Each measurement runs on
 * all contestants one after another; ratios compare results of one round.
 */
import type { Report } from './harness/report.ts';
import { ENVOY_HTTP, ENVOY_TCP, KMESH, NO_MESH } from './peers/contestants.ts';
import { BULK, BULKS, CPU, FRESH, MANY, MANY_P50, measurePeers, ONE_P50 } from './peers/measure.ts';

/** The suite `onenode`. */
export function suite(): Promise<Report> {
  return measurePeers({
    suite: 'onenode',
    nodes: 1,
    bounds: [
      ...[ENVOY_HTTP, ENVOY_TCP].flatMap((envoy) => [
        { figure: MANY, of: KMESH, to: envoy, kind: 'atLeast', bound: 4, baseline: NO_MESH } as const,
        { figure: MANY_P50, of: KMESH, to: envoy, above: NO_MESH, kind: 'atMost', bound: 0.2 } as const,
        { figure: CPU, of: KMESH, to: envoy, kind: 'atMost', bound: 0.25, baseline: NO_MESH } as const,
        { figure: FRESH, of: KMESH, to: envoy, kind: 'atLeast', bound: 2, baseline: NO_MESH } as const,
      ]),
      { figure: ONE_P50, of: KMESH, to: NO_MESH, kind: 'atMost', bound: 1.2 },
      { figure: BULK, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 1 },
      { figure: BULKS, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 1 },
    ],
  });
}
