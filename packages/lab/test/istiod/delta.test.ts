import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Workload, xds } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { startFakeIstiod } from '../../src/istiod/fake-istiod.ts';
import { rawResource } from '../../src/istiod/faults.ts';
import type { FakeIstiod, FakeIstiodOptions } from '../../src/istiod/istiod-interface.ts';
import { type DeltaClient, deltaClient, type Response, testNode } from './delta-client.ts';

const { addressTypeUrl, authorizationTypeUrl } = xds;

function workload(name: string, changes: Partial<Workload> = {}): Workload {
  return workloadRecord({ name, addresses: ['10.0.0.1'], protocol: 'HBONE', node: 'node-b', ...changes });
}

const service = serviceRecord({
  name: 'web',
  vips: [{ network: '', ip: '10.96.0.1' }],
  ports: new Map([[80, 8080]]),
});
const serviceKey = 'default/web.default.svc.cluster.local';

async function withIstiod(
  options: FakeIstiodOptions,
  body: (istiod: FakeIstiod, client: DeltaClient) => Promise<void>,
): Promise<void> {
  const istiod = await startFakeIstiod(options);
  const client = deltaClient(istiod);
  try {
    await body(istiod, client);
  } finally {
    client.close();
    await istiod.close().catch((error: unknown) => {
      if (istiod.violations.length === 0) throw error;
    });
  }
}

function acknowledge(client: DeltaClient, response: Response): void {
  client.send({ typeUrl: response.typeUrl, responseNonce: response.nonce });
}

function names(response: Response): string[] {
  return (response.resources ?? []).map((resource) => resource.name ?? '').sort();
}

test('a wildcard subscription gets everything, then only differences, and removals by name', async () => {
  const mesh = [
    { kind: 'workload', workload: workload('a') },
    { kind: 'workload', workload: workload('b') },
    { kind: 'service', service },
  ] as const;
  await withIstiod({ mesh }, async (istiod, client) => {
    client.send({ node: testNode, typeUrl: addressTypeUrl });
    const first = await client.next();
    assert.deepEqual(names(first), ['Kubernetes//Pod/default/a', 'Kubernetes//Pod/default/b', serviceKey]);
    assert.ok(first.resources.every((resource) => resource.version !== '' && resource.aliases?.length === 0));
    acknowledge(client, first);
    client.send({ node: testNode, typeUrl: authorizationTypeUrl });
    const policies = await client.next();
    assert.deepEqual([policies.typeUrl, policies.resources.length], [authorizationTypeUrl, 0]);
    acknowledge(client, policies);
    await istiod.waitForSettled();

    istiod.update([
      { kind: 'workload', workload: workload('a') },
      { kind: 'workload', workload: workload('b', { status: 'Unhealthy' }) },
      { kind: 'removeService', key: serviceKey },
    ]);
    const second = await client.next();
    assert.deepEqual(
      names(second),
      ['Kubernetes//Pod/default/b'],
      'the unchanged workload is not sent again',
    );
    assert.deepEqual(second.removedResources, [serviceKey]);
    acknowledge(client, second);
    await istiod.waitForSettled();
    istiod.assertNoViolations();
  });
});

test('after a reconnect only what changed meanwhile is sent, and vanished names are removed', async () => {
  await withIstiod({ mesh: [{ kind: 'workload', workload: workload('a') }] }, async (istiod, client) => {
    client.send({ node: testNode, typeUrl: addressTypeUrl });
    const [resource] = (await client.next()).resources;
    istiod.update([{ kind: 'workload', workload: workload('c') }]);
    const again = deltaClient(istiod);
    try {
      again.send({
        node: testNode,
        typeUrl: addressTypeUrl,
        initialResourceVersions: {
          [resource?.name ?? '']: resource?.version ?? '',
          'Kubernetes//Pod/default/gone': 'x',
        },
      });
      const response = await again.next();
      assert.deepEqual(names(response), ['Kubernetes//Pod/default/c']);
      assert.deepEqual(response.removedResources, ['Kubernetes//Pod/default/gone']);
    } finally {
      again.close();
    }
  });
});

test('on demand: only the own node at first, then requested resources, by alias and with their workloads', async () => {
  const mesh = [
    { kind: 'workload', workload: workload('local', { node: 'node-a', addresses: ['10.0.0.9'] }) },
    {
      kind: 'workload',
      workload: workload('backend', { services: new Map([[serviceKey, new Map([[80, 8080]])]]) }),
    },
    { kind: 'service', service },
  ] as const;
  await withIstiod({ mesh }, async (istiod, client) => {
    client.send({
      node: testNode,
      typeUrl: addressTypeUrl,
      resourceNamesSubscribe: ['*'],
      resourceNamesUnsubscribe: ['*'],
    });
    const first = await client.next();
    assert.deepEqual(names(first), ['Kubernetes//Pod/default/local']);
    acknowledge(client, first);
    client.send({ typeUrl: addressTypeUrl, resourceNamesSubscribe: ['/10.96.0.1'] });
    const second = await client.next();
    assert.deepEqual(names(second), ['Kubernetes//Pod/default/backend', serviceKey]);
    assert.deepEqual(second.resources.find((resource) => resource.name === serviceKey)?.aliases, [
      '/10.96.0.1',
    ]);
    acknowledge(client, second);
    client.send({ typeUrl: addressTypeUrl, resourceNamesSubscribe: ['/10.1.2.3'] });
    const third = await client.next();
    assert.deepEqual([third.resources, third.removedResources], [[], ['/10.1.2.3']]);
    acknowledge(client, third);
    client.send({ node: testNode, typeUrl: authorizationTypeUrl });
    acknowledge(client, await client.next());
    await istiod.waitForSettled();
    istiod.assertNoViolations();
  });
});

const mistakes: readonly {
  readonly title: string;
  readonly expected: RegExp;
  readonly act: (client: DeltaClient) => Promise<void>;
}[] = [
  {
    title: 'no node in the first request',
    expected: /carries no node/,
    act: async (client) => client.send({ typeUrl: addressTypeUrl }),
  },
  {
    title: 'a nonce that was never sent',
    expected: /never sent/,
    act: async (client) => {
      client.send({ node: testNode, typeUrl: addressTypeUrl });
      await client.next();
      client.send({ typeUrl: addressTypeUrl, responseNonce: 'made-up' });
    },
  },
  {
    title: 'one answer twice',
    expected: /a second time/,
    act: async (client) => {
      client.send({ node: testNode, typeUrl: addressTypeUrl });
      const response = await client.next();
      acknowledge(client, response);
      acknowledge(client, response);
    },
  },
  {
    title: 'a second wildcard',
    expected: /as a whole for a second time/,
    act: async (client) => {
      client.send({ node: testNode, typeUrl: addressTypeUrl });
      acknowledge(client, await client.next());
      client.send({ typeUrl: addressTypeUrl, resourceNamesSubscribe: ['*'] });
    },
  },
  {
    title: 'an unknown type',
    expected: /unknown type/,
    act: async (client) => client.send({ node: testNode, typeUrl: 'type.googleapis.com/other' }),
  },
  {
    title: 'Authorization before Address',
    expected: /before type.googleapis.com\/istio.workload.Address/,
    act: async (client) => client.send({ node: testNode, typeUrl: authorizationTypeUrl }),
  },
];

for (const { title, expected, act } of mistakes) {
  test(`a client that sends ${title} is detected`, async () => {
    await withIstiod({}, async (istiod, client) => {
      await act(client);
      await istiod.waitFor('a violation', () => istiod.violations.length > 0);
      assert.throws(() => istiod.assertNoViolations(), expected);
    });
  });
}

test('a wrong token, a missing one and a foreign namespace are refused', async () => {
  await withIstiod({}, async (istiod, client) => {
    for (const authorization of ['Bearer wrong', 'Basic x']) {
      const stranger = deltaClient(istiod, { authorization });
      stranger.send({ node: testNode, typeUrl: addressTypeUrl });
      assert.equal((await stranger.status).code, 16);
      stranger.close();
    }
    client.send({
      node: { id: testNode.id ?? '', metadata: { fields: { NAMESPACE: { stringValue: 'elsewhere' } } } },
      typeUrl: addressTypeUrl,
    });
    assert.equal((await client.status).code, 7);
    istiod.assertNoViolations();
  });
});

test('faults: stall, bad resources, clean end, status, GOAWAY, refusal, half-open and a cut message', async () => {
  await withIstiod({}, async (istiod, client) => {
    const subscribed = async (): Promise<DeltaClient> => {
      const fresh = deltaClient(istiod);
      fresh.send({ node: testNode, typeUrl: addressTypeUrl });
      acknowledge(fresh, await fresh.next());
      return fresh;
    };
    client.send({ node: testNode, typeUrl: addressTypeUrl });
    acknowledge(client, await client.next());

    istiod.faults.stall(true);
    istiod.update([{ kind: 'workload', workload: workload('late') }]);
    istiod.faults.badResources(1, [rawResource('good', Buffer.alloc(0))]);
    assert.equal(client.pending, 0);
    istiod.faults.stall(false);
    assert.deepEqual(names(await client.next()), ['Kubernetes//Pod/default/late']);
    assert.deepEqual(names(await client.next()), ['bad-0', 'good']);

    istiod.faults.endStreams();
    assert.equal((await client.status).code, 0);
    const second = await subscribed();
    istiod.faults.endStreams({ code: 14, details: 'going away' });
    assert.equal((await second.status).code, 14);
    const third = await subscribed();
    istiod.faults.goaway();
    assert.notEqual((await third.status).code, 0);
    const fourth = await subscribed();
    await istiod.faults.refuse(true);
    assert.equal((await fourth.status).code, 14);
    const refused = deltaClient(istiod);
    refused.send({ node: testNode, typeUrl: addressTypeUrl });
    assert.equal((await refused.status).code, 14);
    await istiod.faults.refuse(false);

    const fifth = await subscribed();
    istiod.faults.halfOpen(true);
    istiod.update([{ kind: 'removeWorkload', uid: 'Kubernetes//Pod/default/late' }]);
    await assert.rejects(fifth.next(), /no response/);
    istiod.faults.halfOpen(false);
    assert.deepEqual((await fifth.next()).removedResources, ['Kubernetes//Pod/default/late']);

    istiod.faults.closeMidMessage(100_000);
    istiod.faults.bigPush(2);
    assert.notEqual((await fifth.status).code, 0);
    assert.equal(fifth.pending, 0);
    for (const used of [second, third, fourth, refused, fifth]) used.close();
    istiod.assertNoViolations();
  });
});
