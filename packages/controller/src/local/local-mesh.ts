import { isDeepStrictEqual } from 'node:util';
import type { MeshUpdate, Policy, PortMap, Route, Service, Workload } from '@kmesh/api';
import { policyKey, routeKey, serviceKey } from '@kmesh/orchestration';
import { readPolicy } from './policy.ts';
import { readRoute } from './route.ts';
import { type LocalService, readService } from './service.ts';
import { readWorkload } from './workload.ts';
import { type Field, YamlReader } from './yaml-reader.ts';

/** Content of a local mesh file. */
export interface LocalMesh {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>;
  /** By `namespace/hostname`. */
  readonly services: ReadonlyMap<string, Service>;
  /** By `namespace/name`. */
  readonly policies: ReadonlyMap<string, Policy>;
  /** By `namespace/name`. */
  readonly routes: ReadonlyMap<string, Route>;
}

/**
 * Parses a local mesh configuration (contract 4), from a file's text or the variable `LOCAL_XDS`.
 *
 * A workload without a uid gets one that no control plane uses, `local/<namespace>/<name>`, so that two of them do not
 * replace each other. Endpoints listed in a service are added to the workloads they name.
 *
 * @param source name of the text in messages: the file's path, or `LOCAL_XDS`
 * @throws {KmeshError} `KMESH_LOCAL_CONFIG_INVALID` with every problem: place, field, value and allowed values
 */
export function parseLocalMesh(text: string, source: string): LocalMesh {
  const reader = new YamlReader(text, source);
  const fields = reader.isAbsent(reader.root)
    ? {}
    : reader.object(reader.root, [], ['workloads', 'policies', 'services', 'routes']);

  const workloads = new Map<string, Workload>();
  for (const field of reader.list(fields.workloads)) {
    const workload = withUid(readWorkload(reader, field), workloads);
    add(reader, field, workloads, workload.uid, workload);
  }
  const services = new Map<string, Service>();
  const listed: LocalService[] = [];
  for (const field of reader.list(fields.services)) {
    const local = readService(reader, field);
    listed.push(local);
    add(reader, field, services, serviceKey(local.service), local.service);
  }
  const policies = new Map<string, Policy>();
  for (const field of reader.list(fields.policies)) {
    const policy = readPolicy(reader, field);
    add(reader, field, policies, policyKey(policy), policy);
  }
  const routes = new Map<string, Route>();
  for (const field of reader.list(fields.routes)) {
    const route = readRoute(reader, field);
    add(reader, field, routes, routeKey(route), route);
  }
  reader.finish();
  for (const local of listed) addListedEndpoints(workloads, local);
  return { workloads, services, policies, routes };
}

function add<Value>(
  reader: YamlReader,
  field: Field,
  map: Map<string, Value>,
  key: string,
  value: Value,
): void {
  if (map.has(key)) reader.problem(field, `one entry per key ("${key}" already exists)`);
  map.set(key, value);
}

function withUid(workload: Workload, others: ReadonlyMap<string, Workload>): Workload {
  if (workload.uid !== '') return workload;
  const base = `local/${workload.namespace}/${workload.name || (workload.addresses[0] ?? workload.hostname)}`;
  let uid = base;
  for (let count = 2; others.has(uid); count++) uid = `${base}#${count}`;
  return { ...workload, uid };
}

/** Adds a service's endpoints to their workloads. An endpoint without a workload in the file has no effect. */
function addListedEndpoints(workloads: Map<string, Workload>, { service, endpoints }: LocalService): void {
  const key = serviceKey(service);
  for (const endpoint of endpoints) {
    const workload = workloads.get(endpoint.workloadUid);
    if (workload === undefined || workload.services.has(key)) continue;
    if (endpoint.status === 'Unhealthy' && service.loadBalancer?.healthPolicy !== 'AllowAll') continue;
    const services = new Map<string, PortMap>(workload.services).set(key, endpoint.ports);
    workloads.set(workload.uid, { ...workload, services });
  }
}

/**
 * Returns the updates that turn the previous local mesh into the next one. Updates come before removals, so a resource
 * that only moved is never missing.
 */
export function localMeshUpdates(previous: LocalMesh | undefined, next: LocalMesh): MeshUpdate[] {
  const updates: MeshUpdate[] = [];
  for (const [key, service] of next.services) {
    if (!isDeepStrictEqual(previous?.services.get(key), service)) updates.push({ kind: 'service', service });
  }
  for (const [uid, workload] of next.workloads) {
    // A new service has no endpoints, so its workloads must be sent again (contract 3.7).
    const joinsNewService = [...workload.services.keys()].some(
      (key) => next.services.has(key) && previous?.services.has(key) !== true,
    );
    if (joinsNewService || !isDeepStrictEqual(previous?.workloads.get(uid), workload)) {
      updates.push({ kind: 'workload', workload });
    }
  }
  for (const [key, policy] of next.policies) {
    if (!isDeepStrictEqual(previous?.policies.get(key), policy)) updates.push({ kind: 'policy', policy });
  }
  for (const [key, route] of next.routes) {
    if (!isDeepStrictEqual(previous?.routes.get(key), route)) updates.push({ kind: 'route', route });
  }
  for (const uid of previous?.workloads.keys() ?? []) {
    if (!next.workloads.has(uid)) updates.push({ kind: 'removeWorkload', uid });
  }
  for (const key of previous?.services.keys() ?? []) {
    if (!next.services.has(key)) updates.push({ kind: 'removeService', key });
  }
  for (const key of previous?.policies.keys() ?? []) {
    if (!next.policies.has(key)) updates.push({ kind: 'removePolicy', key });
  }
  for (const key of previous?.routes.keys() ?? []) {
    if (!next.routes.has(key)) updates.push({ kind: 'removeRoute', key });
  }
  return updates;
}
