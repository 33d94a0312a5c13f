import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { type MeshUpdate, xds } from '@kmesh/api';
import { startClient, until } from './support/client.ts';
import { ScriptedControlPlane } from './support/control-plane.ts';
import {
  pod,
  policyResource,
  serviceResource,
  undecodableResource,
  workloadResource,
} from './support/resources.ts';

const typeUrl = xds.addressTypeUrl;
const policyUrl = xds.authorizationTypeUrl;

function summary(updates: readonly MeshUpdate[]): string[] {
  return updates.map(summaryOf);
}

function summaryOf(update: MeshUpdate): string {
  switch (update.kind) {
    case 'workload':
      return `+${update.workload.uid}`;
    case 'service':
      return `+${update.service.namespace}/${update.service.hostname}`;
    case 'policy':
      return `+policy ${update.policy.namespace}/${update.policy.name}`;
    case 'removeWorkload':
      return `-workload ${update.uid}`;
    case 'removeService':
      return `-service ${update.key}`;
    case 'removePolicy':
      return `-policy ${update.key}`;
    case 'route':
      return `+route ${update.route.namespace}/${update.route.name}`;
    case 'removeRoute':
      return `-route ${update.key}`;
  }
}

describe('delta xDS client', () => {
  test('XDS-01: requests addresses first, then policies, both as wildcard and without versions', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    const [addresses, policies] = await stream.subscriptions();
    assert.equal(addresses.typeUrl, typeUrl);
    assert.equal(policies.typeUrl, policyUrl);
    for (const request of [addresses, policies]) {
      assert.equal(request.node?.id, 'ztunnel~1.1.1.1~p.ns~ns.svc.cluster.local');
      assert.deepEqual(request.resourceNamesSubscribe, []);
      assert.deepEqual(request.resourceNamesUnsubscribe, []);
      assert.deepEqual(request.initialResourceVersions, {});
      assert.equal(request.responseNonce, '');
    }
    assert.deepEqual(running.synced, []);
  });

  test('XDS-03: requests have the token, the cluster id and the configured headers', async () => {
    using plane = await ScriptedControlPlane.start();
    await using _running = startClient({
      address: plane.address,
      plane: { token: 'secret-token', clusterId: 'c1', headers: { foo: 'bar' } },
    });
    const { metadata } = await plane.stream();
    assert.deepEqual(metadata.get('authorization'), ['Bearer secret-token']);
    assert.deepEqual(metadata.get('clusterid'), ['c1']);
    assert.deepEqual(metadata.get('foo'), ['bar']);
  });

  test('XDS-04: reads the token file for every call, and an empty file fails the call with a reason', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kmesh-token-'));
    try {
      const path = join(folder, 'token');
      writeFileSync(path, 'first\n');
      using plane = await ScriptedControlPlane.start();
      await using running = startClient({ address: plane.address, plane: { token: path } });
      const first = await plane.stream();
      assert.deepEqual(first.metadata.get('authorization'), ['Bearer first']);
      writeFileSync(path, 'second');
      first.end();
      const second = await plane.stream();
      assert.deepEqual(second.metadata.get('authorization'), ['Bearer second']);
      writeFileSync(path, '');
      second.end();
      await until(() => running.lines.some((line) => line.fields['setting'] === 'AUTH_TOKEN'));
      const line = running.lines.find((candidate) => candidate.fields['setting'] === 'AUTH_TOKEN');
      assert.match(String(line?.fields['cause']), /token is empty/);
      assert.equal(typeof line?.fields['nextTryMs'], 'number');
      writeFileSync(path, 'third');
      assert.deepEqual((await plane.stream()).metadata.get('authorization'), ['Bearer third']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('XDS-05: applies the good resources of a response and names every bad one', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const resources = [
      undecodableResource('bad-1'),
      workloadResource(pod('good')),
      workloadResource({ ...pod('bad-2'), addresses: [new Uint8Array(3)] }),
      { name: 'bad-3', version: 'v' },
      { name: 'bad-4', resource: { value: new Uint8Array() } },
    ];
    const answer = await stream.exchange({ typeUrl, nonce: 'n1', resources });
    assert.equal(answer.responseNonce, 'n1');
    assert.equal(answer.typeUrl, typeUrl);
    const reasons = (answer.errorDetail?.message ?? '').split('; ');
    assert.equal(reasons.length, 4);
    assert.match(reasons[0] ?? '', /^bad-1: payload cannot be decoded: /);
    assert.equal(reasons[1], 'Kubernetes//Pod/ns/bad-2: address has 3 bytes, not 4 or 16');
    assert.equal(reasons[2], 'bad-3: resource has no payload');
    assert.equal(reasons[3], 'bad-4: address is neither a workload nor a service');
    assert.deepEqual(summary(running.updates), ['+Kubernetes//Pod/ns/good']);
  });

  test('XDS-06: a first response with a bad resource does not count as synchronised, a later good one does', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    await stream.exchange({ typeUrl, nonce: '1', resources: [undecodableResource('bad')] });
    await stream.exchange({ typeUrl: policyUrl, nonce: '2' });
    assert.deepEqual(running.synced, [policyUrl]);
    const answer = await stream.exchange({ typeUrl, nonce: '3', resources: [workloadResource(pod('a'))] });
    assert.equal(answer.errorDetail ?? null, null);
    assert.deepEqual(running.synced, [policyUrl, typeUrl]);
    assert.deepEqual(running.client.status().synced, [policyUrl, typeUrl]);
  });

  test('XDS-07: acknowledges a response of an unknown type and changes nothing', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const other = 'type.googleapis.com/some.Other';
    const answer = await stream.exchange({
      typeUrl: other,
      nonce: '1',
      resources: [undecodableResource('x')],
    });
    assert.equal(answer.responseNonce, '1');
    assert.equal(answer.errorDetail ?? null, null);
    assert.deepEqual(running.updates, []);
    assert.equal(
      running.lines.filter((line) => line.fields['type'] === other && line.level === 'warn').length,
      1,
    );
  });

  test('XDS-08: removes workloads and services by name, and ignores unknown names', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const service = { namespace: 'ns', hostname: 'host' };
    const policy = policyResource({ namespace: 'ns', name: 'p' });
    await stream.exchange({
      typeUrl,
      nonce: '1',
      resources: [workloadResource(pod('a')), serviceResource(service)],
    });
    await stream.exchange({ typeUrl: policyUrl, nonce: '2', resources: [policy] });
    running.updates.length = 0;
    const removedResources = ['Kubernetes//Pod/ns/a', 'ns/host', 'unknown', 'a/b/c/d'];
    const answer = await stream.exchange({ typeUrl, nonce: '3', removedResources });
    assert.equal(answer.errorDetail ?? null, null);
    await stream.exchange({ typeUrl: policyUrl, nonce: '4', removedResources: ['ns/p'] });
    assert.deepEqual(summary(running.updates), [
      '-workload Kubernetes//Pod/ns/a',
      '-service ns/host',
      '-policy ns/p',
    ]);
  });

  test('STA-11: the updates of a response are applied before its removals', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    await stream.exchange({ typeUrl, nonce: '1', resources: [workloadResource(pod('old'))] });
    running.updates.length = 0;
    await stream.exchange({
      typeUrl,
      nonce: '2',
      resources: [workloadResource(pod('new'))],
      removedResources: ['Kubernetes//Pod/ns/old'],
    });
    assert.deepEqual(summary(running.updates), [
      '+Kubernetes//Pod/ns/new',
      '-workload Kubernetes//Pod/ns/old',
    ]);
  });

  test('XDS-09, XDS-10: a new stream sends the retained versions, an empty one after a rejection, and no resource is removed meanwhile', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const resources = [
      workloadResource(pod('a'), 'v1'),
      workloadResource(pod('b'), 'v2'),
      workloadResource(pod('c'), 'v3'),
    ];
    await stream.exchange({ typeUrl, nonce: '1', resources });
    await stream.exchange({
      typeUrl,
      nonce: '2',
      resources: [undecodableResource('never-good'), undecodableResource('Kubernetes//Pod/ns/c', 'v4')],
      removedResources: [],
    });
    await stream.exchange({
      typeUrl: policyUrl,
      nonce: '3',
      resources: [policyResource({ namespace: 'ns', name: 'p' })],
    });
    stream.end();
    const [addresses, policies] = await (await plane.stream()).subscriptions();
    assert.deepEqual(addresses.initialResourceVersions, {
      'Kubernetes//Pod/ns/a': 'v1',
      'Kubernetes//Pod/ns/b': 'v2',
      'Kubernetes//Pod/ns/c': '',
    });
    assert.deepEqual(policies.initialResourceVersions, { 'ns/p': '' });
    assert.ok(addresses.node?.id);
    assert.ok(summary(running.updates).every((update) => update.startsWith('+')));
    assert.equal(running.client.counters.terminations.Complete, 1);
  });

  test('XDS-10: a retained workload whose newest version was rejected can be removed by its name', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    await stream.exchange({ typeUrl, nonce: '1', resources: [workloadResource(pod('a'))] });
    await stream.exchange({ typeUrl, nonce: '2', resources: [undecodableResource('Kubernetes//Pod/ns/a')] });
    await stream.exchange({ typeUrl, nonce: '3', removedResources: ['Kubernetes//Pod/ns/a'] });
    assert.deepEqual(summary(running.updates), ['+Kubernetes//Pod/ns/a', '-workload Kubernetes//Pod/ns/a']);
  });

  test('XDS-11, XDS-12: ends are counted by reason, and every failure is one log line with the time of the next attempt', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const counted = running.client.counters.terminations;
    (await plane.stream()).end();
    (await plane.stream()).fail(status.DEADLINE_EXCEEDED, 'lived long enough');
    (await plane.stream()).fail(status.UNAVAILABLE, 'no room');
    (await plane.stream()).fail(status.UNAUTHENTICATED, 'bad token');
    const last = await plane.stream();
    assert.deepEqual(counted, { Complete: 1, Reconnect: 1, Error: 2, ConnectionError: 0 });
    const blamed = running.lines.filter((line) => line.fields['setting'] === 'AUTH_TOKEN');
    assert.match(String(blamed[0]?.fields['cause']), /UNAUTHENTICATED: bad token/);
    await last.request();
    plane.close();
    await until(() => counted.ConnectionError >= 3);
    const refused = running.lines.filter((line) => line.fields['reason'] === 'ConnectionError').slice(0, 3);
    for (const line of refused) {
      assert.equal(line.level, 'warn');
      assert.equal(line.fields['setting'], 'XDS_ADDRESS');
      assert.match(String(line.fields['cause']), /ECONNREFUSED/);
    }
    assert.equal(running.client.status().connected, false);
    assert.equal(running.client.status().lastError?.setting, 'XDS_ADDRESS');
  });

  test('XDS-13: on demand, subscribes to no address but to every policy', async () => {
    using plane = await ScriptedControlPlane.start();
    await using _running = startClient({ address: plane.address, options: { onDemand: true } });
    const [addresses, policies] = await (await plane.stream()).subscriptions();
    assert.deepEqual(addresses.resourceNamesSubscribe, ['*']);
    assert.deepEqual(addresses.resourceNamesUnsubscribe, ['*']);
    assert.deepEqual(policies.resourceNamesSubscribe, []);
    assert.deepEqual(policies.resourceNamesUnsubscribe, []);
  });

  test('XDS-14, XDS-15: a lookup is one request with one name, and waits until the resource is applied or removed', async () => {
    using plane = await ScriptedControlPlane.start();
    const applied: string[] = [];
    await using running = startClient({
      address: plane.address,
      options: { onDemand: true },
      apply: async (updates) => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        applied.push(...summary(updates));
      },
    });
    const stream = await plane.stream();
    await stream.subscriptions();
    const found = running.client.demand('/10.0.0.1');
    const again = running.client.demand('/10.0.0.1');
    const request = await stream.request();
    assert.deepEqual(request.resourceNamesSubscribe, ['/10.0.0.1']);
    assert.equal(request.responseNonce, '');
    assert.equal(request.node ?? null, null);
    const resource = { ...workloadResource(pod('a')), aliases: ['/10.0.0.1'] };
    stream.send({ typeUrl, nonce: '1', resources: [resource] });
    await Promise.all([found, again]);
    assert.deepEqual(applied, ['+Kubernetes//Pod/ns/a']);
    assert.equal((await stream.request()).responseNonce, '1');

    const missing = running.client.demand('/10.0.0.2');
    assert.deepEqual((await stream.request()).resourceNamesSubscribe, ['/10.0.0.2']);
    stream.send({ typeUrl, nonce: '2', removedResources: ['/10.0.0.2'] });
    await missing;
  });

  test('XDS-16: the next stream requests names without an answer again', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address, options: { onDemand: true } });
    const stream = await plane.stream();
    await stream.subscriptions();
    const waiting = running.client.demand('ns/host');
    await stream.request();
    stream.end();
    const next = await plane.stream();
    const [addresses] = await next.subscriptions();
    assert.deepEqual(addresses.initialResourceVersions, { 'ns/host': '' });
    next.send({ typeUrl, nonce: '1', resources: [serviceResource({ namespace: 'ns', hostname: 'host' })] });
    await waiting;
  });

  test('XDS-14: a watched name is unsubscribed from before it is requested again, and the oldest of many that do not exist', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({
      address: plane.address,
      options: { onDemand: true, absentNames: 1 },
    });
    const stream = await plane.stream();
    await stream.subscriptions();
    const uid = 'Kubernetes//Pod/ns/a';
    const demanded = async (name: string, answer: Parameters<typeof stream.send>[0]): Promise<void> => {
      const done = running.client.demand(name);
      assert.deepEqual((await stream.request()).resourceNamesSubscribe, [name]);
      stream.send({ typeUrl, ...answer });
      await done;
      assert.notEqual((await stream.request()).responseNonce, '');
    };
    const unsubscribed = async (): Promise<readonly string[]> => {
      const { resourceNamesUnsubscribe, resourceNamesSubscribe } = await stream.request();
      assert.deepEqual(resourceNamesSubscribe, []);
      return resourceNamesUnsubscribe;
    };
    await demanded('/10.0.0.2', { nonce: '1', removedResources: ['/10.0.0.2'] });
    const resource = { ...workloadResource(pod('a')), aliases: ['/10.0.0.1'] };
    await demanded('/10.0.0.1', { nonce: '2', resources: [resource] });
    await stream.exchange({ typeUrl, nonce: '3', removedResources: [uid] });
    assert.deepEqual(await unsubscribed(), ['/10.0.0.2']);
    for (const name of ['/10.0.0.1', uid]) {
      const again = running.client.demand(name);
      assert.deepEqual(await unsubscribed(), [name]);
      assert.deepEqual((await stream.request()).resourceNamesSubscribe, [name]);
      stream.send({ typeUrl, nonce: `again ${name}`, resources: [resource] });
      await again;
      assert.notEqual((await stream.request()).responseNonce, '');
    }
  });

  test('XDS-14: a name that is demanded while the first requests are built is requested on that stream', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address, options: { onDemand: true } });
    const early = running.client.demand('ns/host');
    const stream = await plane.stream();
    await stream.subscriptions();
    assert.deepEqual((await stream.request()).resourceNamesSubscribe, ['ns/host']);
    stream.send({ typeUrl, nonce: '1', removedResources: ['ns/host'] });
    await early;
  });

  test('XDS-16: a held resource that is demanded again is requested with an empty version', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address, options: { onDemand: true } });
    const stream = await plane.stream();
    await stream.subscriptions();
    const resource = serviceResource({ namespace: 'ns', hostname: 'host' });
    await stream.exchange({ typeUrl, nonce: '1', resources: [resource] });
    const waiting = running.client.demand('ns/host');
    await stream.request();
    await stream.request();
    stream.end();
    const next = await plane.stream();
    const [addresses] = await next.subscriptions();
    assert.deepEqual(addresses.initialResourceVersions, { 'ns/host': '' });
    next.send({ typeUrl, nonce: '2', resources: [resource] });
    await waiting;
  });

  test('the log names an unreadable root, an unreadable token and an invalid header with the time of the next attempt', async () => {
    const address = 'https://127.0.0.1:1';
    const cases = [
      { plane: {}, setting: 'XDS_ROOT_CA', cause: /ENOENT.*\/nonexistent\/root\.pem/ },
      { plane: { rootCa: '/etc/hostname' }, setting: 'XDS_ROOT_CA', cause: /no PEM certificate/ },
      { plane: { rootCa: 'SYSTEM', token: '/nonexistent/token' }, setting: 'AUTH_TOKEN', cause: /ENOENT/ },
      { plane: { rootCa: 'SYSTEM', token: 'with\nbreak' }, setting: 'AUTH_TOKEN', cause: /request header/ },
      {
        plane: { rootCa: 'SYSTEM', headers: { 'a b': 'c' } },
        setting: 'XDS_HEADER_a b',
        cause: /request header/,
      },
    ];
    for (const { plane, setting, cause } of cases) {
      await using running = startClient({ address, plane });
      await until(() => running.lines.length > 0);
      const [line] = running.lines;
      assert.equal(line?.fields['setting'], setting);
      assert.match(String(line?.fields['cause']), cause);
      assert.equal(line?.fields['nextTryMs'], 20);
    }
  });

  test('a policy with unknown parts is logged once', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const value = Buffer.from([0x0a, 1, 0x70, 0x2a, 4, 0x0a, 2, 0x7a, 0]);
    for (const nonce of ['1', '2']) {
      await stream.exchange({ typeUrl: policyUrl, nonce, resources: [{ name: '/p', resource: { value } }] });
    }
    assert.equal(running.lines.filter((line) => line.fields['policy'] === '/p').length, 1);
  });
});
