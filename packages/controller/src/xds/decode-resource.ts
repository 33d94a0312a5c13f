import { type MeshUpdate, securityProto, workloadProto, xds } from '@kmesh/api';
import { convertPolicy } from './convert-policy.ts';
import { convertService } from './convert-service.ts';
import { convertWorkload } from './convert-workload.ts';
import type { Interner } from './intern.ts';
import { rejected } from './reject.ts';

/** A resource that changes the mesh, never a removal. */
export type ResourceUpdate = Extract<MeshUpdate, { kind: 'workload' | 'service' | 'policy' }>;

/** Whether resources of this type are understood. */
export function isKnownType(typeUrl: string): boolean {
  return typeUrl === xds.addressTypeUrl || typeUrl === xds.authorizationTypeUrl;
}

/**
 * Decodes and converts one resource of a known type.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED, or what the decoder throws, when the resource cannot be used.
 */
export function decodeResource(
  typeUrl: string,
  resource: xds.RawResource,
  interner: Interner,
): ResourceUpdate {
  if (resource.damage !== undefined) throw rejected(resource.damage);
  if (resource.payload === undefined) throw rejected('resource has no payload');
  return typeUrl === xds.addressTypeUrl
    ? decodeAddress(resource.payload, interner, resource.name)
    : {
        kind: 'policy',
        policy: convertPolicy(securityProto.Authorization.decodeKeepingUnknown(resource.payload)),
      };
}

function decodeAddress(payload: Buffer, interner: Interner, name: string): ResourceUpdate {
  const address = workloadProto.Address.decode(payload);
  if (address.workload) {
    return { kind: 'workload', workload: convertWorkload(address.workload, interner, name) };
  }
  if (address.service) return { kind: 'service', service: convertService(address.service, interner) };
  throw rejected('address is neither a workload nor a service');
}
