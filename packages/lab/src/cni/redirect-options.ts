/** Which of istio-cni's rules a pod gets (ambient contract 11.2, 11.3). */
export interface RedirectOptions {
  /** `iptables` by default. */
  readonly variant?: 'iptables' | 'nftables';
  /** The rows for DNS; `true` by default. */
  readonly dns?: boolean;
  /** Pod annotation `ambient.istio.io/bypass-inbound-capture`: an ingress takes its clients itself. */
  readonly bypassInbound?: boolean;
  /** Pod annotation `istio.io/reroute-virtual-interfaces`: what comes in there is outbound traffic. */
  readonly virtualInterfaces?: readonly string[];
}
