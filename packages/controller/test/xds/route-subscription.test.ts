import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { routeProto, xds } from '@kmesh/api';
import { type RunningClient, startClient, until } from './support/client.ts';
import { ScriptedControlPlane, type ServedStream } from './support/control-plane.ts';

const typeUrl = xds.virtualServiceTypeUrl;

/** A `VirtualService` in its envelope that sends `weight` of its connections to v2. */
function route(name: string, weight: number) {
  const value = routeProto.VirtualService.encode({
    hosts: ['shop'],
    tcp: [
      {
        route: [
          { destination: { host: 'v1' }, weight: 100 },
          { destination: { host: 'v2' }, weight },
        ],
      },
    ],
  });
  const body = { typeUrl: 'type.googleapis.com/istio.networking.v1alpha3.VirtualService', value };
  return {
    name: `default/${name}`,
    version: '',
    resource: { typeUrl, value: routeProto.Resource.encode({ body }) },
  };
}

/** A client that requests routes; after a refusal it requests them again after `routesRefused` milliseconds. */
function start(plane: ScriptedControlPlane, routesRefused = 3_600_000, firstRoutes = 0): RunningClient {
  return startClient({
    address: plane.address,
    options: { routes: true, times: { routesRefused, firstRoutes } },
  });
}

type Request = Awaited<ReturnType<ServedStream['request']>>;

/** Answers the requests of addresses and policies with empty responses. */
async function sendMesh(stream: ServedStream): Promise<void> {
  for (const { typeUrl } of await stream.subscriptions()) {
    stream.send({ typeUrl: typeUrl ?? '', nonce: typeUrl ?? '' });
  }
}

/** Reads requests until each of `wanted` was received. */
async function requestsUntil(
  stream: ServedStream,
  ...wanted: ((request: Request) => boolean)[]
): Promise<Request[]> {
  const requests: Request[] = [];
  while (!wanted.every((condition) => requests.some(condition))) requests.push(await stream.request());
  return requests;
}

const answers = [xds.addressTypeUrl, xds.authorizationTypeUrl].map(
  (type) => (request: Request) => request.responseNonce === type,
);
const asksForRoutes = (request: Request) => request.typeUrl === typeUrl;

/** Sends an empty mesh; returns when it is acknowledged. */
async function serveMesh(stream: ServedStream): Promise<void> {
  await sendMesh(stream);
  await requestsUntil(stream, ...answers);
}

/** Accepts the next stream, sends an empty mesh, and returns the request for routes. */
async function asked(plane: ScriptedControlPlane) {
  const stream = await plane.stream();
  await sendMesh(stream);
  const request = (await requestsUntil(stream, ...answers, asksForRoutes)).find(asksForRoutes);
  assert.ok(request);
  return { stream, request };
}

function applied({ updates }: RunningClient): string[] {
  return updates.map((update) =>
    update.kind === 'route'
      ? `+${update.route.name}`
      : update.kind === 'removeRoute'
        ? `-${update.key}`
        : update.kind,
  );
}

function warnings({ lines }: RunningClient): string[] {
  return lines.filter(({ level }) => level === 'warn' || level === 'error').map(({ message }) => message);
}

describe('the subscription to routes', () => {
  test('starts once all other types have arrived, with the same node', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane);
    const { stream, request } = await asked(plane);
    assert.equal(request.typeUrl, typeUrl);
    assert.equal(request.node?.id, stream.requests[0]?.node?.id);
    assert.deepEqual(request.resourceNamesSubscribe, []);
    const answer = await stream.exchange({ typeUrl, nonce: 'r', resources: [route('split', 1)] });
    assert.equal(answer.errorDetail, null);
    assert.deepEqual(applied(running), ['+split']);
    assert.equal(running.client.status().routes, 'sent');
  });

  test('is answered before the first mesh is reported as complete, with a limit on the wait', async () => {
    using plane = await ScriptedControlPlane.start();
    for (const patience of [60_000, 100]) {
      await using running = start(plane, undefined, patience);
      const stream = await plane.stream();
      await sendMesh(stream);
      await requestsUntil(stream, asksForRoutes);
      assert.deepEqual(running.synced, [xds.addressTypeUrl]);
      if (patience > 1_000) {
        stream.send({ typeUrl, nonce: 'r', resources: [route('split', 1)] });
        await requestsUntil(stream, (request) => request.responseNonce === 'r');
        assert.deepEqual(applied(running), ['+split']);
      }
      await until(() => running.synced.includes(xds.authorizationTypeUrl));
    }
  });

  test('rejects an invalid route by name, applies the others, and keeps the earlier version of the invalid one', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane);
    const { stream } = await asked(plane);
    await stream.exchange({ typeUrl, nonce: 'a', resources: [route('one', 1), route('two', 1)] });
    const answer = await stream.exchange({
      typeUrl,
      nonce: 'b',
      resources: [route('one', -1), route('two', 2)],
    });
    assert.match(answer.errorDetail?.message ?? '', /^default\/one: .*weight -1 is negative/);
    assert.deepEqual(applied(running), ['+one', '+two', '+two']);
  });

  test('does not decode unchanged resources again', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane);
    const { stream } = await asked(plane);
    for (const weight of [1, 1, 1, 2]) {
      await stream.exchange({
        typeUrl,
        nonce: `${stream.requests.length}`,
        resources: [route('split', weight)],
      });
    }
    assert.deepEqual(applied(running), ['+split', '+split']);
  });

  test('after a reconnect removes routes that no longer exist, also if their newest version was rejected', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane);
    const first = await asked(plane);
    await first.stream.exchange({
      typeUrl,
      nonce: 'a',
      resources: ['one', 'two', 'three'].map((name) => route(name, 1)),
    });
    await first.stream.exchange({ typeUrl, nonce: 'b', resources: [route('two', -1)] });
    first.stream.end();
    const { stream } = await asked(plane);
    running.updates.length = 0;
    await stream.exchange({ typeUrl, nonce: 'c', resources: [route('three', 1)] });
    assert.deepEqual(applied(running), ['-default/one', '-default/two']);
  });
});

describe('a control plane that refuses routes', () => {
  for (const code of [status.PERMISSION_DENIED, status.INVALID_ARGUMENT, status.UNIMPLEMENTED]) {
    test(`with ${status[code]} gets one request and one log line, and the other types continue at once`, async () => {
      using plane = await ScriptedControlPlane.start();
      await using running = start(plane);
      const first = await asked(plane);
      first.stream.fail(code, 'no such thing');
      const second = await plane.stream();
      await serveMesh(second);
      assert.equal(running.client.status().routes, 'refused');
      assert.equal(warnings(running).length, 1);
      assert.match(warnings(running)[0] ?? '', /refuses to send routes/);
      assert.equal(running.client.status().lastError, undefined);
      // A third stream does not request routes either: the last answer proves that no request came before it.
      second.end();
      const third = await plane.stream();
      await serveMesh(third);
      await third.exchange({ typeUrl: xds.addressTypeUrl, nonce: 'fence' });
      assert.equal(
        third.requests.some((request) => request.typeUrl === typeUrl),
        false,
      );
    });
  }

  test('loses the routes that it sent before', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane);
    const first = await asked(plane);
    await first.stream.exchange({ typeUrl, nonce: 'a', resources: [route('one', 1), route('two', 1)] });
    first.stream.end();
    const second = await asked(plane);
    running.updates.length = 0;
    second.stream.fail(status.PERMISSION_DENIED, 'not any more');
    await serveMesh(await plane.stream());
    assert.deepEqual(applied(running), ['-default/one', '-default/two']);
    const line = running.lines.find(({ message }) => message.includes('refuses to send routes'));
    assert.equal(line?.fields['withdrawn'], 2);
  });

  test('gets the next request after the wait, without any other message', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = start(plane, 300);
    const first = await asked(plane);
    first.stream.fail(status.PERMISSION_DENIED, 'not yet');
    const { stream } = await asked(plane);
    await stream.exchange({ typeUrl, nonce: 'a', resources: [route('split', 1)] });
    assert.equal(running.client.status().routes, 'sent');
    assert.deepEqual(applied(running), ['+split']);
  });
});

test('repeated restarts of the control plane before an answer are no refusal', async () => {
  using plane = await ScriptedControlPlane.start();
  await using running = start(plane);
  const first = await asked(plane);
  await first.stream.exchange({ typeUrl, nonce: 'a', resources: [route('split', 1)] });
  first.stream.end();
  for (const code of [status.UNAVAILABLE, status.INTERNAL, status.UNAVAILABLE]) {
    const { stream } = await asked(plane);
    stream.fail(code, 'going away');
    await until(() => running.client.status().routes === 'sent');
  }
  const { stream } = await asked(plane);
  await stream.exchange({ typeUrl, nonce: 'b', resources: [route('split', 2)] });
  assert.deepEqual(applied(running), ['+split', '+split'], 'held descriptors stay open');
  assert.equal(
    warnings(running).some((message) => message.includes('refuses')),
    false,
  );
});
