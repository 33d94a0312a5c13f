import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectionStart } from '../src/connection.ts';
import { serviceLabels, trafficLabels, workloadLabels } from '../src/labels/connection-labels.ts';
import { serviceLabelNames, trafficLabelNames, workloadLabelNames } from '../src/labels/label-sets.ts';
import { client, server, start, workload } from './support/mesh.ts';

function named(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(values.map((value, index) => [names[index], value]));
}

function traffic(change: Partial<ConnectionStart>): Record<string, string> {
  return named(trafficLabelNames, trafficLabels(start(change), '-'));
}

const strangers = { source: undefined, destination: undefined, destinationService: undefined };

test('OBS-11: locality labels are absent when both peers are unknown', () => {
  const labels = traffic(strangers);
  assert.deepEqual(
    Object.keys(labels).filter((name) => /_(region|zone)$/.test(name)),
    [],
  );
  assert.equal(labels['source_workload'], 'unknown');
  assert.equal(labels['destination_service'], 'unknown');
});

test('OBS-11: one known peer with a region adds all four locality labels, unknown where missing', () => {
  const labels = traffic({ ...strangers, destination: server });
  assert.deepEqual(
    [
      labels['source_region'],
      labels['source_zone'],
      labels['destination_region'],
      labels['destination_zone'],
    ],
    ['unknown', 'unknown', 'eu', 'unknown'],
  );
});

const clientUri = 'spiffe://cluster.local/ns/default/sa/client';
const serverUri = 'spiffe://cluster.local/ns/default/sa/server';
const peer = { trustDomain: 'elsewhere', namespace: 'far', serviceAccount: 'caller' };
const principals: { name: string; change: Partial<ConnectionStart>; source: string; destination: string }[] =
  [
    { name: 'plain TCP outbound', change: {}, source: 'unknown', destination: serverUri },
    {
      name: 'HBONE outbound',
      change: { sourceIdentity: client, securityPolicy: 'mutual_tls' },
      source: clientUri,
      destination: serverUri,
    },
    {
      name: 'plaintext inbound',
      change: { reporter: 'destination' },
      source: 'unknown',
      destination: serverUri,
    },
    {
      name: 'HBONE inbound',
      change: { reporter: 'destination', sourceIdentity: peer, securityPolicy: 'mutual_tls' },
      source: 'spiffe://elsewhere/ns/far/sa/caller',
      destination: serverUri,
    },
  ];
for (const row of principals) {
  test(`OBS-12: principals of ${row.name}`, () => {
    const labels = traffic(row.change);
    assert.equal(labels['source_principal'], row.source);
    assert.equal(labels['destination_principal'], row.destination);
  });
}

const baggage = {
  cluster: 'far-cluster',
  namespace: 'far',
  workloadName: 'caller-deployment',
  serviceName: 'caller',
  serviceVersion: 'v9',
  region: 'us',
  zone: 'us-a',
};

test('OBS-13: a source known only from baggage has app = workload name and canonical service = service.name', () => {
  const labels = traffic({ source: undefined, derivedSource: baggage, reporter: 'destination' });
  assert.equal(labels['source_app'], 'caller-deployment');
  assert.equal(labels['source_workload'], 'caller-deployment');
  assert.equal(labels['source_canonical_service'], 'caller');
  assert.equal(labels['source_version'], 'v9');
  assert.equal(labels['source_cluster'], 'far-cluster');
  assert.equal(labels['source_region'], 'us');
  assert.equal(labels['source_zone'], 'us-a');
});

test('OBS-13: a workload resource overrides all labels from baggage except the principal', () => {
  const labels = traffic({ reporter: 'destination', derivedSource: baggage, sourceIdentity: peer });
  assert.equal(labels['source_workload'], 'client');
  assert.equal(labels['source_app'], 'client');
  assert.equal(labels['source_region'], 'unknown');
  assert.equal(labels['source_principal'], 'spiffe://elsewhere/ns/far/sa/caller');
});

test('the inner response of double HBONE replaces the destination labels and the principal', () => {
  const labels = traffic({ derivedDestination: baggage, destinationIdentity: peer });
  assert.equal(labels['destination_workload'], 'caller-deployment');
  assert.equal(labels['destination_canonical_service'], 'caller');
  assert.equal(labels['destination_principal'], 'spiffe://elsewhere/ns/far/sa/caller');
  assert.equal(labels['destination_service_name'], 'echo');
});

test('label sets have exactly the names of the contract, in order', () => {
  assert.equal(
    trafficLabelNames.join(','),
    'reporter,source_workload,source_canonical_service,source_canonical_revision,source_workload_namespace,' +
      'source_principal,source_app,source_version,source_cluster,destination_service,' +
      'destination_service_namespace,destination_service_name,destination_workload,' +
      'destination_canonical_service,destination_canonical_revision,destination_workload_namespace,' +
      'destination_principal,destination_app,destination_version,destination_cluster,request_protocol,' +
      'response_flags,connection_security_policy,source_region,source_zone,destination_region,destination_zone',
  );
  assert.equal(workloadLabelNames.length, 23);
  assert.equal(serviceLabelNames.length, 23);
  assert.equal(trafficLabels(start(), '-').length, 27);
});

test('Kmesh families have - for unknown values and never mutual_tls without TLS', () => {
  const unknown = start(strangers);
  const ofWorkload = named(workloadLabelNames, workloadLabels(unknown, '-'));
  assert.equal(ofWorkload['source_workload'], '-');
  assert.equal(ofWorkload['destination_pod_address'], '-');
  assert.equal(ofWorkload['connection_security_policy'], '-');
  const ofService = named(serviceLabelNames, serviceLabels(start({ securityPolicy: 'mutual_tls' }), 'DENY'));
  assert.equal(ofService['destination_service'], 'echo.default.svc.cluster.local');
  assert.equal(ofService['response_flags'], 'DENY');
  assert.equal(ofService['connection_security_policy'], 'mutual_tls');
  const pod = named(workloadLabelNames, workloadLabels(start(), '-'));
  assert.equal(pod['destination_pod_address'], '10.0.0.2');
  assert.equal(pod['destination_pod_name'], 'server-7c9-y2');
});

test('an empty value of a resource counts as unknown', () => {
  const labels = traffic({ source: workload({ canonicalName: '', clusterId: '' }) });
  assert.equal(labels['source_canonical_service'], 'unknown');
  assert.equal(labels['source_cluster'], 'unknown');
});
