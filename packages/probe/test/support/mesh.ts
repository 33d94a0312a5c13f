import type { Workload } from '@kmesh/api';
import { workloadRecord } from '@kmesh/api/testing';
import type { ConnectionStart } from '../../src/connection.ts';

/** A complete workload; tests override only relevant fields. */
export function workload(change: Partial<Workload> = {}): Workload {
  const name = change.name ?? 'client-5d4-x1';
  return workloadRecord({
    name,
    addresses: ['10.0.0.1'],
    serviceAccount: 'client',
    node: 'node-1',
    canonicalName: 'client',
    canonicalRevision: 'v1',
    workloadType: 'deployment',
    workloadName: 'client',
    ...change,
  });
}

export const client = workload();
export const server = workload({
  name: 'server-7c9-y2',
  addresses: ['10.0.0.2'],
  serviceAccount: 'server',
  canonicalName: 'server',
  canonicalRevision: 'v2',
  workloadName: 'server',
  locality: { region: 'eu', zone: '', subzone: '' },
});
export const echoService = { name: 'echo', namespace: 'default', hostname: 'echo.default.svc.cluster.local' };

/** An outbound plain TCP connection from client to server through the service; tests override fields. */
export function start(change: Partial<ConnectionStart> = {}): ConnectionStart {
  return {
    reporter: 'source',
    path: 'tunnel',
    sourceAddress: '10.0.0.1:41000',
    destinationAddress: '10.0.0.2:8080',
    source: client,
    destination: server,
    destinationService: echoService,
    securityPolicy: 'unknown',
    ...change,
  };
}
