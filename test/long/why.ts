/**
 * 1,000 real connections of random meshes on each path, each compared with the outcome that `why` predicted. `npm run
 * test:long -- why`
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareWithDials } from '../differential/compare-why.ts';

const DIALS = 1_000;

for (const kernelPath of [true, false]) {
  test(`why predicts the outcome of each of ${DIALS} real connections of random meshes, with the kernel path ${kernelPath ? 'on' : 'off'}`, async (context) => {
    const seen = await compareWithDials(kernelPath, DIALS);
    context.diagnostic(JSON.stringify(seen));
    assert.ok(
      seen.tunnel > 50 && seen.refused > 100 && seen.denied > 10 && seen.varied > 50,
      JSON.stringify(seen),
    );
    assert.equal(seen.kernel > 100, kernelPath);
  });
}
