import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzResources, fuzzResponses, randomFrom } from './support/fuzz.ts';

test('ROB-01: mutated xDS payloads are converted or rejected without another error', () => {
  const { accepted, rejected } = fuzzResources(60_000, randomFrom(1));
  assert.ok(accepted > 1_000);
  assert.ok(rejected > 1_000);
});

test('ROB-01: mutated xDS responses are applied or refused without another error', async () => {
  const { accepted, rejected } = await fuzzResponses(3_000, randomFrom(2));
  assert.ok(accepted > 100);
  assert.ok(rejected > 100);
});
