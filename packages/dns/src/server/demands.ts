import { candidateNames, defaultSearchDomains, wildcardsOf } from '../names/resolve.ts';

/** Delay before a name is requested again; meanwhile the control plane pushes it when it appears. */
const repeatMilliseconds = 30_000;
const maximumRequested = 10_000;
/** Longest wait for the control plane; the query is then forwarded. */
const waitMilliseconds = 2_000;
/** Limit of resources requested for one query. */
const maximumNames = 16;

/** Requests names that the table does not have from the control plane (`XDS_ON_DEMAND`), each at a limited rate. */
export class Demands {
  readonly #clusterDomain: string;
  readonly #post: (id: number, names: readonly string[]) => void;
  readonly #requested = new Map<
    string,
    { readonly until: number; readonly done: Promise<void> | undefined }
  >();
  readonly #open = new Map<number, () => void>();
  #next = 1;

  /** @param post sends a request; {@link Demands.done} is called with its id */
  constructor(clusterDomain: string, post: (id: number, names: readonly string[]) => void) {
    this.#clusterDomain = clusterDomain;
    this.#post = post;
  }

  /**
   * Resolves when the name is known or does not exist, or after two seconds; `undefined` if it was requested recently.
   */
  request(name: string, namespace: string): Promise<void> | undefined {
    const key = `${namespace}/${name}`;
    const known = this.#requested.get(key);
    const now = performance.now();
    if (known !== undefined && (known.done !== undefined || known.until > now)) return known.done;
    const names = demandNames(name, namespace, this.#clusterDomain);
    if (names.length === 0) return undefined;
    if (this.#requested.size >= maximumRequested) this.#requested.clear();
    const id = this.#next++;
    const done = new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#open.delete(id);
        this.#requested.set(key, { until: performance.now() + repeatMilliseconds, done: undefined });
        resolve();
      };
      const timer = setTimeout(finish, waitMilliseconds);
      this.#open.set(id, finish);
    });
    this.#requested.set(key, { until: 0, done });
    this.#post(id, names);
    return done;
  }

  done(id: number): void {
    this.#open.get(id)?.();
  }
}

/**
 * Lists the services (`namespace/hostname`) that a name may refer to: in the namespace of a Kubernetes name, or in the
 * client's namespace for any other name. A service of another namespace whose name does not contain the namespace
 * cannot be requested.
 */
function demandNames(name: string, namespace: string, clusterDomain: string): string[] {
  const names = new Set<string>();
  const suffix = `.svc.${clusterDomain}`;
  const search = defaultSearchDomains(namespace, clusterDomain);
  for (const { name: candidate } of candidateNames(name, { namespace, clusterDomain, search })) {
    if (!candidate.endsWith(suffix)) {
      for (const host of [candidate, ...wildcardsOf(candidate)]) names.add(`${namespace}/${host}`);
      continue;
    }
    const labels = candidate.slice(0, -suffix.length).split('.');
    const owner = labels.at(-1);
    if (labels.length < 2 || labels.length > 3) continue;
    names.add(`${owner}/${candidate}`);
    // The headless service of a pod's name.
    if (labels.length === 3) names.add(`${owner}/${labels.slice(1).join('.')}${suffix}`);
  }
  return [...names].slice(0, maximumNames);
}
