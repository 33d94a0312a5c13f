import { candidateNames, defaultSearchDomains, wildcardsOf } from '../names/resolve.ts';

/** A name that was asked for is not asked for again for this long: the control plane pushes it when it appears. */
const askedMilliseconds = 30_000;
const mostAsked = 10_000;
/** The control plane may be away: the query is then forwarded. */
const waitMilliseconds = 2_000;
/** Resources of one question. */
const mostNames = 16;

/** Asks the control plane for names that the table does not have (`XDS_ON_DEMAND`), each once in a while. */
export class Demands {
  readonly #clusterDomain: string;
  readonly #post: (id: number, names: readonly string[]) => void;
  readonly #asked = new Map<string, { readonly until: number; readonly done: Promise<void> | undefined }>();
  readonly #open = new Map<number, () => void>();
  #next = 1;

  /** @param post sends a request; {@link Demands.done} is called with its id */
  constructor(clusterDomain: string, post: (id: number, names: readonly string[]) => void) {
    this.#clusterDomain = clusterDomain;
    this.#post = post;
  }

  /** Resolves when the name is known, or known not to exist, or after two seconds; undefined when it was asked for lately. */
  ask(name: string, namespace: string): Promise<void> | undefined {
    const key = `${namespace}/${name}`;
    const known = this.#asked.get(key);
    const now = performance.now();
    if (known !== undefined && (known.done !== undefined || known.until > now)) return known.done;
    const names = demandNames(name, namespace, this.#clusterDomain);
    if (names.length === 0) return undefined;
    if (this.#asked.size >= mostAsked) this.#asked.clear();
    const id = this.#next++;
    const done = new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#open.delete(id);
        this.#asked.set(key, { until: performance.now() + askedMilliseconds, done: undefined });
        resolve();
      };
      const timer = setTimeout(finish, waitMilliseconds);
      this.#open.set(id, finish);
    });
    this.#asked.set(key, { until: 0, done });
    this.#post(id, names);
    return done;
  }

  done(id: number): void {
    this.#open.get(id)?.();
  }
}

/**
 * Lists the services (`namespace/hostname`) that a name may be: of the namespace that a Kubernetes name says, and of the client's for every other name.
 * A service of another namespace under a name that does not say which cannot be asked for.
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
    // The headless service that a pod's name is under.
    if (labels.length === 3) names.add(`${owner}/${labels.slice(1).join('.')}${suffix}`);
  }
  return [...names].slice(0, mostNames);
}
