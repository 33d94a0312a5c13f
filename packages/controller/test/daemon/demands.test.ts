import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { demandsOf } from '../../src/daemon/demands.ts';

test('XDS-14: a name is requested again only some time after its answer', async () => {
  const requested: string[] = [];
  const client = { demand: async (name: string) => void requested.push(name) };
  const demand = demandsOf(client, { keptMilliseconds: 50 });
  await demand(['/10.0.0.1', 'ns/a']);
  await demand(['/10.0.0.1', 'ns/b']);
  assert.deepEqual(requested, ['/10.0.0.1', 'ns/a', 'ns/b']);
  await eventually('another request', async () => {
    await demand(['/10.0.0.1']);
    return requested.length > 3;
  });
});

test('XDS-14: without an answer a demand fails, and the next one waits for it anew', async () => {
  const answers: (() => void)[] = [];
  const client = { demand: () => new Promise<void>((resolve) => answers.push(resolve)) };
  const demand = demandsOf(client, { limitMilliseconds: 20 });
  await assert.rejects(demand(['/10.0.0.1']), (error) => isKmeshError(error, 'KMESH_DEMAND_UNANSWERED'));
  const patient = demandsOf(client)(['/10.0.0.1']);
  for (const answer of answers) answer();
  await patient;
});
