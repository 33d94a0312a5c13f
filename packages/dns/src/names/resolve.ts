import { candidateNames, wildcardsOf } from './candidates.ts';
import type { NameRecord } from './record.ts';

/** The two types that are answered from the mesh. */
export type AddressType = 'A' | 'AAAA';

/** Where records are found: the table of the answering thread, or the mesh state itself. */
export interface NameSource {
  /** Every record of a host name, in order of arrival. */
  recordsOf(hostname: string): readonly NameRecord[];
}

/** Who asks, and how the mesh is set up. */
export interface NameContext {
  readonly namespace: string;
  readonly network: string;
  /** Lower case, without dots around it. */
  readonly clusterDomain: string;
  /** Lower case, without dots around them. */
  readonly search: readonly string[];
  readonly preferredNamespace: string | undefined;
  /** `IPV6_ENABLED`: false answers no AAAA. */
  readonly ipv6: boolean;
}

/** An answer from the mesh. No address means NODATA: the name exists, the type does not. */
export interface LocalAnswer {
  readonly record: NameRecord;
  /** The host name that was found, a wildcard perhaps. */
  readonly matched: string;
  /** The question without its search domain: the answer begins with a CNAME to this name. */
  readonly cname: string | undefined;
  readonly addresses: readonly string[];
}

/**
 * Answers a question for addresses from the mesh (contract 12), or returns `undefined`: the mesh does not have that name,
 * the pod's resolvers shall answer.
 *
 * @param name lower case, without the final dot
 */
export function resolveName(
  source: NameSource,
  context: NameContext,
  name: string,
  type: AddressType,
): LocalAnswer | undefined {
  for (const candidate of candidateNames(name, context)) {
    const exact = choose(source.recordsOf(candidate.name), context);
    if (exact !== undefined) {
      const addresses = addressesOf(exact, context, type);
      return { record: exact, matched: candidate.name, cname: candidate.stripped, addresses };
    }
    const pod = resolvePod(source, context, candidate.name, type);
    if (pod !== undefined) return { ...pod, matched: candidate.name, cname: candidate.stripped };
    for (const wildcard of wildcardsOf(candidate.name)) {
      const record = choose(source.recordsOf(wildcard), context);
      if (record === undefined) continue;
      return {
        record,
        matched: wildcard,
        cname: undefined,
        addresses: addressesOf(record, context, type),
      };
    }
  }
  return undefined;
}

/** The client's namespace wins, then the canonical service, then the preferred namespace, then the first one. */
function choose(records: readonly NameRecord[], context: NameContext): NameRecord | undefined {
  const { namespace, preferredNamespace } = context;
  const visible = records.filter((record) => isVisible(record, namespace));
  return (
    visible.find((record) => record.namespace === namespace) ??
    visible.find((record) => record.canonical) ??
    visible.find((record) => record.namespace === preferredNamespace) ??
    visible[0]
  );
}

function isVisible(record: NameRecord, namespace: string): boolean {
  return record.visibility === 'Public' || record.namespace === namespace;
}

/** `web-0.web.shop.svc.cluster.local`: a pod of the StatefulSet behind the headless service `web`. */
function resolvePod(
  source: NameSource,
  context: NameContext,
  name: string,
  type: AddressType,
): Pick<LocalAnswer, 'record' | 'addresses'> | undefined {
  const dot = name.indexOf('.');
  if (dot < 0) return undefined;
  const label = name.slice(0, dot);
  const record = choose(source.recordsOf(name.slice(dot + 1)), context);
  const pods = record?.endpoints?.filter(({ podLabel }) => podLabel === label);
  if (record === undefined || pods === undefined || pods.length === 0) return undefined;
  return { record, addresses: addressesOf({ ...record, endpoints: pods }, context, type) };
}

function addressesOf(record: NameRecord, context: NameContext, type: AddressType): readonly string[] {
  if (type === 'AAAA' && !context.ipv6) return [];
  if (record.families === (type === 'A' ? 'IPv6' : 'IPv4')) return [];
  const family = type === 'A' ? 'v4' : 'v6';
  if (record.endpoints === undefined) {
    return record.vips.find(({ network }) => network === context.network)?.[family] ?? [];
  }
  return record.endpoints.flatMap((endpoint) => {
    const address = endpoint[family];
    return endpoint.network === context.network && address !== undefined ? [address] : [];
  });
}
