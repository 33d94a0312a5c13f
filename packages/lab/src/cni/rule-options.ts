/*
 * Names and numbers of istio-cni's rules (ambient contract 11.1), deliberately not imported from the product: a wrong
 * value there must fail tests.
 */

/** Mark of the proxy's own packets, and of connections whose replies belong to a transparent socket. */
export const PROXY_MARK = '0x539/0xfff';
export const TRANSPARENT_MARK = '0x111/0xfff';

export const ROUTE_TABLE = 100;
export const RULE_PREFERENCE = 32764;

export const OUTBOUND_PORT = 15001;
export const INBOUND_PLAINTEXT_PORT = 15006;
export const INBOUND_HBONE_PORT = 15008;
export const DNS_PORT = 15053;

/** Source address under which the node's probes reach a pod, by family. */
export const PROBE_SOURCE = { v4: '169.254.7.127', v6: 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff' } as const;

/** Loopback addresses that are never captured, by family. */
export const LOOPBACK = { v4: '127.0.0.1/32', v6: '::1/128' } as const;

/** Selects the rules of istio-cni for a pod (ambient contract 11.2, 11.3). */
export interface RedirectOptions {
  /** `iptables` by default. */
  readonly variant?: 'iptables' | 'nftables';
  /** Whether to install the DNS rules; `true` by default. */
  readonly dns?: boolean;
  /** Pod annotation `ambient.istio.io/bypass-inbound-capture`: an ingress accepts its clients directly. */
  readonly bypassInbound?: boolean;
  /** Pod annotation `istio.io/reroute-virtual-interfaces`: packets that arrive there are outbound traffic. */
  readonly virtualInterfaces?: readonly string[];
}
