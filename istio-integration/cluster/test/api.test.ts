import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Api, type Manifest } from '../api/api.ts';

type Answer = { readonly status?: number; readonly body: object };

/** An API server on loopback that stores ConfigMaps and Deployments, and otherwise sends the test's answers. */
async function server(context: TestContext, answer: (request: IncomingMessage, body: string) => Answer) {
  const seen: string[] = [];
  const http = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const path = request.url?.split('?')[0] ?? '';
    const resources = (name: string, kind: string): object => ({
      kind: 'APIResourceList',
      resources: [{ name, kind, namespaced: true, verbs: ['get', 'patch', 'delete'] }],
    });
    const known: Record<string, object> = {
      '/api/v1': resources('configmaps', 'ConfigMap'),
      '/apis/apps/v1': resources('deployments', 'Deployment'),
    };
    const { status = 200, body: given } =
      known[path] === undefined ? answer(request, body) : { body: known[path] };
    if (known[path] === undefined) seen.push(`${request.method} ${path}`);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(given));
  }).listen(0, '127.0.0.1');
  context.after(() => {
    http.closeAllConnections();
    http.close();
  });
  await new Promise((resolve) => http.once('listening', resolve));
  const { port } = http.address() as AddressInfo;
  const kubeconfig = {
    'current-context': 'test',
    clusters: [
      { name: 'test', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
    ],
    users: [{ name: 'test', user: {} }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  };
  return { api: new Api(JSON.stringify(kubeconfig)), seen };
}

const map = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'one', namespace: 'here' },
  data: { a: 'b' },
} as unknown as Manifest;
const path = '/api/v1/namespaces/here/configmaps/one';

test('applying an object tries again while a webhook cannot be reached, and sends the manifest', async (context) => {
  let refusals = 2;
  let sent = '';
  const { api, seen } = await server(context, (request, body) => {
    sent = `${request.headers['content-type']} ${body}`;
    refusals -= 1;
    return refusals >= 0
      ? { status: 500, body: { kind: 'Status', message: 'failed calling webhook' } }
      : { body: map };
  });
  await api.apply(map);
  assert.deepEqual(seen, [`PATCH ${path}`, `PATCH ${path}`, `PATCH ${path}`]);
  assert.match(sent, /application\/apply-patch\+yaml .*"a":"b"/s);
});

test('a refusal by the API server fails at once with its message', async (context) => {
  const { api, seen } = await server(context, () => ({
    status: 422,
    body: { kind: 'Status', message: 'that is no name' },
  }));
  await assert.rejects(api.apply(map), /that is no name/);
  assert.equal(seen.length, 1);
});

test('a missing object reads as undefined, and removing it succeeds', async (context) => {
  const { api, seen } = await server(context, () => ({
    status: 404,
    body: { kind: 'Status', message: 'gone' },
  }));
  assert.equal(await api.read(map), undefined);
  await api.remove(map);
  assert.deepEqual(seen, [`GET ${path}`, `DELETE ${path}`, `GET ${path}`]);
});

test('a Deployment is rolled out when all its pods are ready and of its newest revision', async (context) => {
  const states = [
    { observedGeneration: 1, replicas: 2, updatedReplicas: 2, readyReplicas: 2 },
    { observedGeneration: 2, replicas: 3, updatedReplicas: 2, readyReplicas: 3 },
    { observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 1 },
    { observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2 },
  ];
  const deployment = { ...map, apiVersion: 'apps/v1', kind: 'Deployment' };
  const { api, seen } = await server(context, () => ({
    body: {
      ...deployment,
      metadata: { ...map.metadata, generation: 2 },
      spec: { replicas: 2 },
      status: states.shift() ?? {},
    },
  }));
  await api.rolledOut(deployment);
  assert.equal(seen.length, 4);
  await assert.rejects(
    api.rolledOut(deployment, 300),
    /to have all pods ready: not within 0.3 s; last seen: \{\}/,
  );
});

test('a GET of a service returns the body of its answer, and an error with its status', async (context) => {
  const asked: string[] = [];
  const { api } = await server(context, (request) => {
    asked.push(request.url ?? '');
    return asked.length === 1
      ? { body: { status: 'success' } }
      : { status: 503, body: { message: 'no endpoints available' } };
  });
  const of = { name: 'prometheus', namespace: 'here' };
  assert.equal(await api.service(of, 9090, 'api/v1/query?query=up'), '{"status":"success"}');
  assert.deepEqual(asked, ['/api/v1/namespaces/here/services/prometheus:9090/proxy/api/v1/query?query=up']);
  await assert.rejects(api.service(of, 9090, '-/ready'), /prometheus answered 503: .*no endpoints available/);
});

test('a service that changes or disappears while it gets an address is no failure; a refusal is', async (context) => {
  const answers = [200, 409, 404, 403];
  const bodies: string[] = [];
  const { api, seen } = await server(context, (_request, body) => {
    bodies.push(body);
    return { status: answers.shift() ?? 500, body: { kind: 'Status', message: 'said' } };
  });
  const service = { metadata: { name: 'one', namespace: 'here', resourceVersion: '7' } };
  assert.equal(await api.setBalancer(service, '192.0.2.7'), true);
  assert.equal(await api.setBalancer(service, '192.0.2.7'), false);
  assert.equal(await api.setBalancer(service, '192.0.2.7'), false);
  await assert.rejects(api.setBalancer(service, '192.0.2.7'), /said/);
  assert.equal(seen[0], 'PUT /api/v1/namespaces/here/services/one/status');
  const { metadata, status } = JSON.parse(bodies[0] ?? '');
  assert.equal(metadata.resourceVersion, '7');
  assert.deepEqual(status, { loadBalancer: { ingress: [{ ip: '192.0.2.7' }] } });
});
