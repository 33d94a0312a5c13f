/** Shared by the tests of all packages and the lab, as `@kmesh/api/testing`; no shipped code imports it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { LogFields, Logger } from './logger.ts';
import type { Route, RouteBackend, Service, Workload } from './model.ts';

/**
 * Builds a complete workload: a healthy plain TCP pod of weight 1 on the empty network. Tests name only what matters.
 */
export function workloadRecord(fields: Partial<Workload> = {}): Workload {
  const { name = 'workload', namespace = 'default' } = fields;
  return {
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'TCP',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    waypoint: undefined,
    networkGateway: undefined,
    node: '',
    canonicalName: name,
    canonicalRevision: 'latest',
    workloadType: 'pod',
    workloadName: name,
    nativeTunnel: false,
    applicationTunnel: undefined,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...fields,
  };
}

/** Builds a complete service; its hostname is `<name>.<namespace>.svc.cluster.local`. Tests name only what matters. */
export function serviceRecord(fields: Partial<Service> = {}): Service {
  const { name = 'service', namespace = 'default' } = fields;
  return {
    name,
    namespace,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    vips: [],
    cidrVips: [],
    ports: new Map(),
    subjectAltNames: [],
    waypoint: undefined,
    weightedWaypoints: [],
    loadBalancer: undefined,
    ipFamilies: undefined,
    canonical: false,
    visibility: 'Public',
    ...fields,
  };
}

/**
 * Builds a TCP route of the Gateway API that splits the connections to `hosts`; its only rule applies to every port.
 */
export function routeRecord(
  fields: Partial<Route> & Pick<Route, 'hosts'>,
  backends: readonly (Partial<RouteBackend> & Pick<RouteBackend, 'hostname'>)[] = [],
): Route {
  return {
    namespace: 'default',
    name: 'split',
    exportTo: [],
    isGatewayApi: true,
    createdAt: 0,
    tcp: [{ matches: [], backends: backends.map((one) => ({ port: undefined, weight: 1, ...one })) }],
    http: undefined,
    unsupported: undefined,
    ...fields,
  };
}

/**
 * Waits until a condition holds and returns its value.
 *
 * @param what - the condition in words, for the error.
 * @throws Error after `milliseconds`.
 */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  milliseconds = 10_000,
): Promise<NonNullable<T>> {
  for (const limit = performance.now() + milliseconds; ; await delay(5)) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > limit) throw new Error(`not within ${milliseconds} ms: ${what}`);
  }
}

/** A logger that keeps its lines, each with its fields as JSON. */
interface MemoryLogger extends Logger {
  readonly lines: string[];
}

/** Returns a logger that keeps its lines in memory. */
export function memoryLogger(): MemoryLogger {
  const lines: string[] = [];
  const write = (message: string, fields?: LogFields): void => {
    lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
  };
  return { lines, error: write, warn: write, info: write, debug: write };
}
