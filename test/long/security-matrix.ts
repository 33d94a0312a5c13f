/**
 * Every pair of policy conditions, allowing and denying, in every scope and under STRICT, with every caller and the
 * kernel path on and off: about 100,000 connections each. KMESH_MATRIX_PART=2/4 selects the second quarter. `npm run
 * test:long -- security-matrix`
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMatrix } from '../security/matrix.ts';
import { pairedScenarios } from '../security/scenarios.ts';

const [part = 1, parts = 1] = (process.env['KMESH_MATRIX_PART'] ?? '1/1').split('/').map(Number);

for (const kernelPath of [true, false]) {
  const title = `every pair of conditions gets the verdict of orchestration, with the kernel path ${kernelPath ? 'on' : 'off'}`;
  test(title, async (context) => {
    await using matrix = await startMatrix({ kernelPath });
    const problems: string[] = [];
    const total = { scenarios: 0, kernel: 0, tunnel: 0, denied: 0 };
    for (const [at, scenario] of [...pairedScenarios()].entries()) {
      if (at % parts !== part - 1) continue;
      const outcome = await matrix.run(scenario);
      problems.push(...outcome.problems);
      total.scenarios++;
      for (const path of ['kernel', 'tunnel', 'denied'] as const) total[path] += outcome.byPath[path];
    }
    problems.push(...(await matrix.settle()));
    context.diagnostic(JSON.stringify(total));
    assert.deepEqual(problems, []);
  });
}
