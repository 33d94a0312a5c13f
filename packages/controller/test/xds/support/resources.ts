import assert from 'node:assert/strict';
import { isKmeshError, securityProto, workloadProto, type xds } from '@kmesh/api';

/** A workload resource, named after its uid. */
export function workloadResource(workload: workloadProto.Workload, version = 'v1'): xds.Resource {
  return {
    name: workload.uid ?? '',
    version,
    resource: { value: workloadProto.Address.encode({ workload }) },
  };
}

/** A service resource, named `namespace/hostname`. */
export function serviceResource(service: workloadProto.Service, version = 'v1'): xds.Resource {
  return {
    name: `${service.namespace}/${service.hostname}`,
    version,
    resource: { value: workloadProto.Address.encode({ service }) },
  };
}

/** A policy resource, named `namespace/name`. */
export function policyResource(policy: securityProto.Authorization): xds.Resource {
  return {
    name: `${policy.namespace}/${policy.name}`,
    resource: { value: securityProto.Authorization.encode(policy) },
  };
}

/** A pod with one address. */
export function pod(name: string, ip: readonly number[] = [10, 0, 0, 1]): workloadProto.Workload {
  return { uid: `Kubernetes//Pod/ns/${name}`, name, namespace: 'ns', addresses: [Uint8Array.from(ip)] };
}

/** A resource whose payload is not a message. */
export function undecodableResource(name: string, version = 'v1'): xds.Resource {
  return { name, version, resource: { value: Uint8Array.of(0x0a, 0xff, 0xff) } };
}

/** Asserts that a conversion rejects its resource with a matching reason. */
export function assertRejects(convert: () => unknown, reason: RegExp): void {
  assert.throws(
    convert,
    (error) => isKmeshError(error, 'KMESH_XDS_RESOURCE_REJECTED') && reason.test(error.message),
  );
}
