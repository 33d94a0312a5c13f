import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { demandsOf } from '../../src/daemon/demands.ts';
import { Waiters } from '../../src/xds/resources.ts';

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

test('names that the control plane never answers are forgotten once nobody waits for them', async () => {
  const waiters = new Waiters();
  const client = { demand: (name: string, signal?: AbortSignal) => waiters.add(name, signal).done };
  const hasty = demandsOf(client, { limitMilliseconds: 20 });
  const patient = demandsOf(client)(['/10.0.0.1']);
  const names = Array.from({ length: 100 }, (_, index) => `/10.0.0.${index}`);
  await assert.rejects(hasty(names), (error) => isKmeshError(error, 'KMESH_DEMAND_UNANSWERED'));
  assert.deepEqual([...waiters.names()], ['/10.0.0.1']);
  waiters.release(['/10.0.0.1']);
  await patient;
  assert.equal(waiters.size, 0);
});
