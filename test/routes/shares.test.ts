import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startMesh } from '@kmesh/lab';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { deviations, splitBy, startSplitScene } from '@kmesh/lab/testing/traffic/split-scene.ts';

const DIALS = repetitions({ ci: 400, full: 1_000 });
/**
 * Exceeded once in two million shares; with 3 the test would fail by chance in one of a few runs. `npm run bench --
 * routes` has 10,000 dials.
 */
const DEVIATIONS = 5;

const splits: readonly (readonly number[])[] = [
  [90, 10, 0],
  [50, 50, 0],
  [99, 1, 0],
  [60, 30, 10],
];

/** Node of each version relative to the client: the kernel path serves those on its node. */
const places: Readonly<Record<string, readonly number[]>> = {
  'of one node': [0, 0, 0],
  'of two nodes': [0, 1, 0],
};

for (const kernelPath of [true, false]) {
  for (const [place, nodes] of Object.entries(places)) {
    test(`connections to versions ${place} have the shares of the route's weights, the kernel path ${kernelPath ? 'on' : 'off'}`, async () => {
      await using lab = await createLab();
      await lab.node();
      await lab.node();
      await using mesh = await startMesh(lab, { kernelPath });
      const scene = await startSplitScene(mesh, nodes);
      for (const weights of splits) {
        await mesh.apply(splitBy(scene, weights));
        await untilTablesFollow(mesh);
        const report = await scene.client.pod.dial({
          to: scene.to,
          mode: 'http',
          connections: DIALS,
          concurrency: 8,
        });
        assert.equal(report.failed, 0, JSON.stringify(report.failures));
        const off = deviations(weights, report.byEndpoint);
        assert.ok(
          Math.max(...off) <= DEVIATIONS,
          `${weights.join(':')}: ${JSON.stringify(report.byEndpoint)}`,
        );
      }
    });
  }
}
