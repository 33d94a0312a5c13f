import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Service } from '@kubernetes/client-node';
import { startBalancer } from '../suite/balancer.ts';
import { waitUntil } from '../wait.ts';

const service = (name: string, type: string): V1Service => ({ metadata: { name }, spec: { type } });

test('each service of type LoadBalancer gets an address; one that changes meanwhile gets it at the next attempt', async () => {
  const services = [service('one', 'LoadBalancer'), service('inside', 'ClusterIP')];
  services.push({
    ...service('kept', 'LoadBalancer'),
    status: { loadBalancer: { ingress: [{ ip: '10.126.0.1' }] } },
  });
  let refusals = 2;
  const given: string[] = [];
  const balancer = startBalancer({
    services: async () => structuredClone(services),
    setBalancer: async ({ metadata }, ip) => {
      refusals -= 1;
      if (refusals >= 0) return false;
      const found = services.find((one) => one.metadata?.name === metadata?.name);
      assert.ok(found);
      found.status = { loadBalancer: { ingress: [{ ip }] } };
      given.push(`${metadata?.name} ${ip}`);
      return true;
    },
  });
  await waitUntil('an address', 5_000, () => given.length === 1 || undefined);
  services.push(service('two', 'LoadBalancer'));
  await waitUntil('another address', 5_000, () => given.length === 2 || undefined);
  await balancer.stop();
  assert.deepEqual(given, ['one 10.126.0.2', 'two 10.126.0.3']);
});

test('a refusal by the API server ends the balancer, and stopping it reports the refusal', async () => {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const balancer = startBalancer({
    services: async () => {
      resolve();
      throw new Error('not allowed');
    },
    setBalancer: async () => true,
  });
  await asked;
  await assert.rejects(balancer.stop(), /not allowed/);
});
