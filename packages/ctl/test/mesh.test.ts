import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { commandLine } from '../src/run-main.ts';

const dump = {
  workloads: [
    {
      uid: 'u1',
      name: 'web-1',
      namespace: 'shop',
      workloadIps: ['10.0.0.1', 'fd00::1'],
      protocol: 'HBONE',
      status: 'Healthy',
      clusterId: 'Kubernetes',
      capacity: 1,
    },
    {
      uid: 'u2',
      name: 'db-1',
      namespace: 'data',
      workloadIps: ['10.0.0.2'],
      protocol: 'TCP',
      status: 'Unhealthy',
      clusterId: 'Kubernetes',
      capacity: 1,
      node: 'n1',
    },
  ],
  services: [
    {
      name: 'web',
      namespace: 'shop',
      hostname: 'web.shop.svc.cluster.local',
      vips: ['net/10.96.0.1'],
      ports: { 80: 8080, 81: 0 },
      endpoints: {
        u1: { workloadUid: 'u1', status: 'Healthy' },
        u2: { workloadUid: 'u2', status: 'Unhealthy' },
      },
      visibility: 'Public',
    },
  ],
  policies: [
    { name: 'strict', namespace: 'shop', scope: 'Namespace', action: 'Deny', rules: [[], []], dryRun: false },
  ],
  routes: [
    {
      name: 'split',
      namespace: 'shop',
      hosts: ['web.shop'],
      exportTo: [],
      isGatewayApi: true,
      createdAt: 0,
      tcp: [
        {
          matches: [],
          backends: [
            { hostname: 'v1', weight: 90 },
            { hostname: '', weight: 10 },
          ],
        },
        { matches: [], backends: [] },
      ],
      problems: [],
    },
    { name: 'old', namespace: 'data', hosts: ['db'], http: [], problems: ['http.rewrite: needs a waypoint'] },
  ],
  certificates: [
    {
      identity: 'spiffe://td/ns/a/sa/b',
      state: 'Available',
      rootCerts: [{}],
      certChain: [
        { serialNumber: '255', validFrom: '2026-01-01T00:00:00Z', expirationTime: '2026-01-02T00:00:00Z' },
      ],
    },
  ],
};
const server = createServer((request, response) => {
  response.writeHead(request.url === '/config_dump' ? 200 : 404).end(JSON.stringify(dump));
});
let admin = '';

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

async function kmeshctl(...args: string[]): Promise<string> {
  let output = '';
  await commandLine([...args, '--admin', admin], (text) => {
    output += text;
  }).parseAsync();
  return output;
}

test('workloads are a table sorted by namespace and name', async () => {
  const lines = (await kmeshctl('workloads')).split('\n');
  assert.match(lines[0] ?? '', /^NAMESPACE\s+NAME\s+ADDRESSES\s+NODE\s+PROTOCOL\s+STATUS\s+WAYPOINT$/);
  assert.match(lines[1] ?? '', /^data\s+db-1\s+10\.0\.0\.2\s+n1\s+TCP\s+Unhealthy\s+-$/);
  assert.match(lines[2] ?? '', /^shop\s+web-1\s+10\.0\.0\.1,fd00::1\s+-\s+HBONE\s+Healthy\s+-$/);
});

test('a namespace narrows the list, and wide shows more columns', async () => {
  const output = await kmeshctl('workloads', '-n', 'shop', '-o', 'wide');
  assert.ok(!output.includes('db-1'));
  assert.match(output, /CAPACITY/);
});

test('services show their ports and how many endpoints are healthy', async () => {
  assert.match(await kmeshctl('services'), /shop\s+web\s+10\.96\.0\.1\s+80→8080,81→named\s+1\/2/);
});

test('policies and certificates are tables too, serials in hexadecimal', async () => {
  assert.match(await kmeshctl('policies'), /shop\s+strict\s+Deny\s+Namespace\s+2\s+no/);
  assert.match(await kmeshctl('certificates'), /spiffe:\/\/td\/ns\/a\/sa\/b\s+Available\s+\S+\s+\S+\s+ff\n/);
});

test('routes show their weights, and why they are not applied', async () => {
  const lines = (await kmeshctl('routes')).split('\n');
  assert.match(lines[0] ?? '', /^NAMESPACE\s+NAME\s+HOSTS\s+TCP\s+HTTP, BY CONNECTION\s+NOT APPLIED$/);
  assert.match(lines[1] ?? '', /^data\s+old\s+db\s+-\s+-\s+http\.rewrite: needs a waypoint$/);
  assert.match(lines[2] ?? '', /^shop\s+split\s+web\.shop\s+v1=90,\(none\)=10; refused\s+-\s+-$/);
});

test('json and yaml give the objects themselves', async () => {
  assert.equal(JSON.parse(await kmeshctl('services', '-o', 'json'))[0].name, 'web');
  assert.match(await kmeshctl('policies', '-o', 'yaml'), /- name: strict/);
});

test('the errors for an unknown command and an unreachable daemon say what to do', async () => {
  await assert.rejects(kmeshctl('wokloads'), (error: unknown) => isKmeshError(error, 'KMESH_USAGE'));
  await assert.rejects(
    commandLine(['workloads', '--admin', 'http://127.0.0.1:1'], () => {}).parseAsync(),
    (error: unknown) =>
      isKmeshError(error, 'KMESH_ADMIN_UNREACHABLE') && error.message.includes('is it running'),
  );
});
