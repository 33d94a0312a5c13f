import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareWithDials } from './compare-why.ts';

/** A share of what `npm run test:long -- why` dials. */
const DIALS = 168;

for (const kernelPath of [true, false]) {
  test(`why predicts the outcome of each of ${DIALS} real connections of random meshes, with the kernel path ${kernelPath ? 'on' : 'off'}`, async (context) => {
    const seen = await compareWithDials(kernelPath, DIALS);
    context.diagnostic(JSON.stringify(seen));
    assert.ok(seen.tunnel > 10 && seen.refused > 10 && seen.denied > 0, JSON.stringify(seen));
    assert.equal(seen.kernel > 10, kernelPath, JSON.stringify(seen));
  });
}
