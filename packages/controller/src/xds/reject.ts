import { KmeshError } from '@kmesh/api';

/**
 * The error of a resource that cannot be used. Its message is the reason that goes into the NACK, so it says what is
 * wrong and where, without the name of the resource. Code `KMESH_XDS_RESOURCE_REJECTED`.
 */
export function rejected(reason: string): KmeshError {
  return new KmeshError('KMESH_XDS_RESOURCE_REJECTED', reason);
}

/**
 * The member of `members` for an enum number; the resource is rejected when the number is not one of them.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED
 */
export function enumMember<Member>(
  field: string,
  value: number,
  members: readonly (Member | undefined)[],
): Member {
  const member = members[value];
  if (member === undefined) throw rejected(`${field} has the unsupported value ${value}`);
  return member;
}
