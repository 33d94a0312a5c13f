/**
 * `npm run bench -- guard`: Kmesh compared with no mesh, on one node and on two, against the bounds of guard-bounds.ts.
 */
import { guardBounds } from './guard-bounds.ts';
import type { Report } from './harness/report.ts';
import { KMESH, NO_MESH } from './peers/contestants.ts';
import { measurePeers } from './peers/measure.ts';

/** The suite `guard`. */
export async function suite(): Promise<Report> {
  const places = [
    { nodes: 1, name: 'one node' },
    { nodes: 2, name: 'two nodes' },
  ] as const;
  const parts: Report[] = [];
  for (const { nodes, name } of places) {
    const held = guardBounds.filter((bound) => bound.nodes === nodes);
    const { environment, figures, ratios } = await measurePeers({
      ...{ suite: 'guard', nodes, rounds: 3, seconds: 1, contestants: [NO_MESH, KMESH] },
      figures: held.map(({ figure }) => figure),
      bounds: held.map(({ figure, kind, bound }) => ({ figure, kind, bound, of: KMESH, to: NO_MESH })),
    });
    parts.push({
      suite: 'guard',
      environment,
      figures: figures.map((figure) => ({ ...figure, contestant: `${figure.contestant}, ${name}` })),
      ratios: ratios.map((ratio, at) => ({
        ...ratio,
        name: `${ratio.name}, ${name}`,
        because: ratio.because ?? held[at]?.reason ?? '',
      })),
    });
  }
  const [{ environment = {} } = {}] = parts;
  return {
    suite: 'guard',
    environment,
    figures: parts.flatMap(({ figures }) => figures),
    ratios: parts.flatMap(({ ratios }) => ratios),
  };
}
