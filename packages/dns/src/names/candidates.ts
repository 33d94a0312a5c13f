/** One name that a question may mean. */
interface CandidateName {
  /** Lower case, without the final dot. */
  readonly name: string;
  /** The question without a search domain, where one was taken off; the name of a CNAME answer. */
  readonly stripped: string | undefined;
}

/**
 * Lists the names that a question may mean, in the order in which they are tried (contract 12): the name itself, its
 * Kubernetes expansions, then for every search domain that ends it the name without that domain, expanded too.
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

/** Lists the longer Kubernetes names that a short one may stand for (contract 12, conformance DNS-30). */
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

/** Lists the wildcard host names that cover a name, the most specific first: `*.b.c`, `*.c` for `a.b.c`. */
export function wildcardsOf(name: string): string[] {
  const wildcards: string[] = [];
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    wildcards.push(`*${name.slice(dot)}`);
  }
  return wildcards;
}

/** Returns the search domains of a pod whose own are not known (contract 12). */
export function defaultSearchDomains(namespace: string, clusterDomain: string): string[] {
  return [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
}
