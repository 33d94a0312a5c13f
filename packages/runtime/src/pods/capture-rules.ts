import type { Logger } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';
import { runInNamespace } from './run-in-namespace.ts';

/** Interval between checks of a pod without rules, in milliseconds. */
const AGAIN_AFTER = 5_000;

/**
 * Checks whether a pod has istio-cni's redirect rules. They are installed before the CNI agent reports the pod (ambient
 * contract 10.1); without them only the connect hook brings the pod's connections to its proxy.
 */
export class PodCapture implements Disposable {
  /** Result of the first check; false if it failed. */
  readonly found: Promise<boolean>;
  readonly #namespace: NetworkNamespace;
  readonly #appearance = Promise.withResolvers<boolean>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param namespace must stay open until this is closed. */
  constructor(namespace: NetworkNamespace, pod: string, logger: Logger) {
    this.#namespace = namespace;
    this.found = this.#look(pod, logger);
  }

  /** Resolves to true when missing rules have appeared, to false when closed. */
  appears(): Promise<boolean> {
    this.#lookAgain();
    return this.#appearance.promise;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#appearance.resolve(false);
  }

  async #look(pod: string, logger: Logger): Promise<boolean> {
    const meaning =
      'connections it opens are refused unless they can be handed over; connections to it are not judged';
    try {
      if (await hasCaptureRules(this.#namespace)) return true;
      if (!this.#closed) logger.warn(`a pod has no capture rules: ${meaning}`, { pod });
    } catch (error) {
      if (!this.#closed)
        logger.warn(`a pod's capture rules cannot be read: ${meaning}`, { pod, error: String(error) });
    }
    return false;
  }

  #lookAgain(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(async () => {
      if (await hasCaptureRules(this.#namespace).catch(() => false)) this.#appearance.resolve(true);
      else this.#lookAgain();
    }, AGAIN_AFTER).unref();
  }
}

/** Port to which istio-cni's rules redirect outbound connections of a pod (ambient contract 11). */
const OUTBOUND_PORT = 15001;

/**
 * Lists everything needed in one process, with {@link podPrograms} and what a shell has itself. Legacy iptables would
 * create a missing table when asked for it.
 */
const LISTING = `
lines() { if [ -r "$1" ]; then while read -r line; do echo "$line"; done < "$1"; fi; }
echo '== addresses'
lines /proc/net/if_inet6
for family in ip ip6; do
  echo "== $family"
  for table in $(lines "/proc/net/\${family}_tables_names"); do
    if [ "$table" = nat ]; then "\${family}tables-legacy-save" -t nat || exit 1; fi
  done
done
echo '== nft'
exec nft -j list ruleset
`;

type Family = 'ip' | 'ip6';

/** A rule as nft prints it, with the relevant fields only. */
interface Rule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly expr: readonly Expression[];
}

interface Expression {
  readonly redirect?: { readonly port?: number } | null;
  /** Written by iptables' compatibility layer; nft cannot always decode it. */
  readonly xt?: { readonly name?: string } | null;
  readonly match?: { readonly left?: { readonly payload?: { readonly protocol?: string } } };
}

/**
 * Returns whether istio-cni's rules that redirect outbound connections to the proxy are installed: for IPv4, and for
 * IPv6 if the pod has such an address. Knows their three forms: nftables, iptables over nftables, legacy iptables.
 *
 * @throws KMESH_POD_COMMAND_FAILED when that cannot be determined.
 */
async function hasCaptureRules(namespace: NetworkNamespace): Promise<boolean> {
  return readsAsCaptured(await runInNamespace(namespace, ['sh', '-c', LISTING]));
}

/** Parses the listing of {@link hasCaptureRules}; its parts begin with `== name`. */
export function readsAsCaptured(listing: string): boolean {
  const parts = listing.split(/^== (\w+)\n/m);
  const part = (name: string): string => parts[parts.indexOf(name) + 1] ?? '';
  // An IPv6 address beyond link scope.
  const hasIpv6 = part('addresses')
    .split('\n')
    .some((line) => line.split(/\s+/)[3] === '00');
  const { nftables } = JSON.parse(part('nft')) as { nftables: readonly { readonly rule?: Rule }[] };
  const families: readonly Family[] = hasIpv6 ? ['ip', 'ip6'] : ['ip'];
  return families.every(
    (family) =>
      nftables.some(({ rule }) => rule !== undefined && isCapture(rule, family)) || isLegacy(part(family)),
  );
}

function isCapture({ family, table, chain, expr }: Rule, wanted: Family): boolean {
  if (family === wanted && table === 'nat' && chain === 'ISTIO_OUTPUT')
    return expr.some(({ redirect, xt }) => redirect?.port === OUTBOUND_PORT || xt?.name === 'REDIRECT');
  return (
    family === 'inet' &&
    table === 'istio-ambient-nat' &&
    chain === 'istio-output' &&
    expr.some(({ redirect }) => redirect?.port === OUTBOUND_PORT) &&
    expr.some(({ match }) => match?.left?.payload?.protocol === wanted)
  );
}

function isLegacy(rules: string): boolean {
  return rules
    .split('\n')
    .some((rule) => rule.startsWith('-A ISTIO_OUTPUT ') && rule.endsWith(`--to-ports ${OUTBOUND_PORT}`));
}
