import {
  DNS_PORT,
  INBOUND_HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  OUTBOUND_PORT,
  PROBE_SOURCE,
  type RedirectOptions,
} from './rule-options.ts';

const IS_PROXY = 'meta mark and 0xfff == 0x539';
const NOT_PROXY = 'meta mark and 0xfff != 0x539';

/** Input of `nft -f` for a pod's namespace, both families. Ambient contract 11.3. */
export function nftablesRules(options: RedirectOptions): string {
  const dns = options.dns ?? true;
  const tables = [
    table('nat', 'nat', -100, inbound(options), [
      ...bothFamilies((ip) => `meta l4proto tcp ${ip.name} daddr ${ip.probe} counter accept`),
      ...(dns ? dnsRows() : []),
      'meta l4proto tcp meta mark and 0xfff == 0x111 counter accept',
      ...bothFamilies((ip) => `oifname "lo" ${ip.name} daddr != ${ip.loopback} counter accept`),
      ...bothFamilies(
        (ip) =>
          `meta l4proto tcp ${ip.name} daddr != ${ip.loopback} ${NOT_PROXY} counter redirect to :${OUTBOUND_PORT}`,
      ),
    ]),
    table(
      'mangle',
      'filter',
      -150,
      [`${IS_PROXY} counter ct mark set ct mark and 0xfffff000 or 0x111`],
      ['ct mark and 0xfff == 0x111 counter meta mark set ct mark'],
      'route',
    ),
  ];
  if (dns) {
    tables.push(
      table(
        'raw',
        'filter',
        -300,
        [`udp sport 53 ${NOT_PROXY} counter ct zone set 1`],
        [`udp dport 53 ${IS_PROXY} counter ct zone set 1`],
      ),
    );
  }
  return tables.join('');
}

/** Input that removes the tables of {@link nftablesRules}. */
export function nftablesRemoval(options: RedirectOptions): string {
  const names = (options.dns ?? true) ? ['nat', 'mangle', 'raw'] : ['nat', 'mangle'];
  return names.map((name) => `delete table inet istio-ambient-${name}\n`).join('');
}

function inbound(options: RedirectOptions): string[] {
  const rows = (options.virtualInterfaces ?? []).flatMap((name) => [
    `iifname "${name}" meta l4proto tcp counter redirect to :${OUTBOUND_PORT}`,
    `iifname "${name}" meta l4proto tcp counter return`,
  ]);
  if (options.bypassInbound === true) return rows;
  return [
    ...rows,
    ...bothFamilies((ip) => `meta l4proto tcp ${ip.name} saddr ${ip.probe} counter accept`),
    ...bothFamilies(
      (ip) =>
        `${ip.name} daddr != ${ip.loopback} tcp dport != ${INBOUND_HBONE_PORT} ${NOT_PROXY} counter redirect to :${INBOUND_PLAINTEXT_PORT}`,
    ),
  ];
}

function dnsRows(): string[] {
  return [
    `oifname != "lo" ${NOT_PROXY} udp dport 53 counter redirect to :${DNS_PORT}`,
    ...bothFamilies(
      (ip) => `${ip.name} daddr != ${ip.loopback} tcp dport 53 ${NOT_PROXY} counter redirect to :${DNS_PORT}`,
    ),
  ];
}

interface Family {
  readonly name: 'ip' | 'ip6';
  readonly loopback: string;
  readonly probe: string;
}

function bothFamilies(rule: (family: Family) => string): string[] {
  return [
    rule({ name: 'ip', loopback: '127.0.0.1', probe: PROBE_SOURCE.v4 }),
    rule({ name: 'ip6', loopback: '::1', probe: PROBE_SOURCE.v6 }),
  ];
}

function table(
  name: string,
  type: string,
  priority: number,
  prerouting: readonly string[],
  output: readonly string[],
  outputType = type,
): string {
  const full = `istio-ambient-${name}`;
  const lines = (rules: readonly string[]) => rules.map((rule) => `    ${rule}\n`).join('');
  return `add table inet ${full}
flush table inet ${full}
table inet ${full} {
  chain istio-prerouting {
${lines(prerouting)}  }
  chain istio-output {
${lines(output)}  }
  chain prerouting {
    type ${type} hook prerouting priority ${priority}; policy accept;
    jump istio-prerouting
  }
  chain output {
    type ${outputType} hook output priority ${priority}; policy accept;
    jump istio-output
  }
}
`;
}
