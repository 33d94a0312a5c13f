import type { NameRecord } from './record.ts';

/** The record types that are answered from the mesh. */
export type AddressType = 'A' | 'AAAA';

/** Source of records: the table of the answering thread, or the mesh state itself. */
interface NameSource {
  /** Returns every record of a host name, in order of arrival. */
  recordsOf(hostname: string): readonly NameRecord[];
}

/** The client and the settings that an answer depends on. */
export interface NameContext {
  readonly namespace: string;
  readonly network: string;
  /** Lower case, without leading and trailing dots. */
  readonly clusterDomain: string;
  /** Lower case, without leading and trailing dots. */
  readonly search: readonly string[];
  readonly preferredNamespace: string | undefined;
  /** `IPV6_ENABLED`: if false, AAAA queries get no address. */
  readonly ipv6: boolean;
}

/** An answer from the mesh. No address means NODATA: the name exists, the type does not. */
export interface LocalAnswer {
  readonly record: NameRecord;
  /** The host name that matched, possibly a wildcard. */
  readonly matched: string;
  /** The queried name without its search domain; the answer then begins with a CNAME to it. */
  readonly cname: string | undefined;
  readonly addresses: readonly string[];
}

/**
 * Answers an address query from the mesh (contract 12). Returns `undefined` if the mesh does not have the name: the
 * query is then forwarded to the pod's resolvers.
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

/** Prefers the client's namespace, then the canonical service, then the preferred namespace, then the first record. */
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

/** Resolves names such as `web-0.web.shop.svc.cluster.local`: a StatefulSet pod of the headless service `web`. */
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

/** One name that a query may refer to. */
interface CandidateName {
  /** Lower case, without the final dot. */
  readonly name: string;
  /** The queried name without a search domain, if one was removed; the target of the CNAME. */
  readonly stripped: string | undefined;
}

/**
 * Lists the names that a query may refer to, in the order in which they are tried (contract 12): the name itself, its
 * Kubernetes expansions, then for every search domain that is its suffix the name without it, with expansions.
 *
 * @param name lower case, without the final dot
 */
export function candidateNames(
  name: string,
  client: { readonly namespace: string; readonly clusterDomain: string; readonly search: readonly string[] },
): CandidateName[] {
  const { namespace, clusterDomain, search } = client;
  const names = [name, ...kubernetesExpansions(name, namespace, clusterDomain)].map(
    (candidate): CandidateName => ({ name: candidate, stripped: undefined }),
  );
  for (const domain of search) {
    if (!name.endsWith(`.${domain}`)) continue;
    const stripped = name.slice(0, -domain.length - 1);
    names.push({ name: stripped, stripped });
    for (const expanded of kubernetesExpansions(stripped, namespace, clusterDomain))
      names.push({ name: expanded, stripped });
  }
  return names;
}

/** Lists the longer Kubernetes names that a short one may refer to (contract 12, conformance DNS-30). */
function kubernetesExpansions(name: string, namespace: string, clusterDomain: string): string[] {
  const labels = name === '' ? [] : name.split('.');
  const endsInSvc = labels.at(-1) === 'svc';
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${clusterDomain}`];
    case 2:
      return [`${name}.svc.${clusterDomain}`, `${name}.${namespace}.svc.${clusterDomain}`];
    case 3:
      return [...(endsInSvc ? [`${name}.${clusterDomain}`] : []), `${name}.svc.${clusterDomain}`];
    case 4:
      return endsInSvc ? [`${name}.${clusterDomain}`] : [];
    default:
      return [];
  }
}

/** Lists the wildcard host names that match a name, the most specific first: `*.b.c`, `*.c` for `a.b.c`. */
export function wildcardsOf(name: string): string[] {
  const wildcards: string[] = [];
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    wildcards.push(`*${name.slice(dot)}`);
  }
  return wildcards;
}

/** Returns the search domains of a pod whose own are unknown (contract 12). */
export function defaultSearchDomains(namespace: string, clusterDomain: string): string[] {
  return [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
}

const NO_RECORDS: readonly NameRecord[] = [];

/** The records of the answering thread by host name. An updated record keeps its position. */
export class NameTable implements NameSource {
  readonly #byKey = new Map<string, NameRecord>();
  readonly #byHostname = new Map<string, NameRecord[]>();

  get size(): number {
    return this.#byKey.size;
  }

  recordsOf(hostname: string): readonly NameRecord[] {
    return this.#byHostname.get(hostname) ?? NO_RECORDS;
  }

  put(record: NameRecord): void {
    const previous = this.#byKey.get(record.key);
    this.#byKey.set(record.key, record);
    if (previous !== undefined && previous.hostname !== record.hostname) this.#unlist(previous);
    const records = this.#byHostname.get(record.hostname);
    if (records === undefined) {
      this.#byHostname.set(record.hostname, [record]);
      return;
    }
    const position = previous === undefined ? -1 : records.indexOf(previous);
    if (position >= 0) records[position] = record;
    else records.push(record);
  }

  /** Removes a record; ignores unknown keys. */
  remove(key: string): void {
    const record = this.#byKey.get(key);
    if (record === undefined) return;
    this.#byKey.delete(key);
    this.#unlist(record);
  }

  #unlist(record: NameRecord): void {
    const records = this.#byHostname.get(record.hostname)?.filter((other) => other !== record) ?? [];
    if (records.length === 0) this.#byHostname.delete(record.hostname);
    else this.#byHostname.set(record.hostname, records);
  }
}
