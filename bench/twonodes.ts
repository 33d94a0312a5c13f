/**
 * A client and a server on two nodes, without a mesh, with Kmesh (whose traffic takes the tunnel there, mTLS) and with
 * sidecars. Each measurement runs on all contestants one after another; ratios compare results of one round.
 */
import type { Report } from './harness/report.ts';
import { ENVOY_HTTP, ENVOY_TCP, KMESH, NO_MESH } from './peers/contestants.ts';
import { BULK, BULKS, FRESH, MANY, MANY_P50, measurePeers, ONE_P50 } from './peers/measure.ts';

/** The suite `twonodes`. */
export function suite(): Promise<Report> {
  return measurePeers({
    suite: 'twonodes',
    nodes: 2,
    bounds: [
      { figure: MANY, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 0.48 },
      { figure: FRESH, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 0.42 },
      { figure: BULK, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 0.38 },
      { figure: BULKS, of: KMESH, to: NO_MESH, kind: 'atLeast', bound: 0.3 },
      { figure: ONE_P50, of: KMESH, to: NO_MESH, kind: 'atMost', bound: 1.9 },
      ...[ENVOY_HTTP, ENVOY_TCP].flatMap((envoy) => [
        { figure: MANY, of: KMESH, to: envoy, kind: 'atLeast', bound: 1.2, baseline: NO_MESH } as const,
        { figure: MANY_P50, of: KMESH, to: envoy, above: NO_MESH, kind: 'atMost', bound: 0.8 } as const,
      ]),
    ],
  });
}
