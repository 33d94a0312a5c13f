import {
  DNS_PORT,
  INBOUND_HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  LOOPBACK,
  OUTBOUND_PORT,
  PROBE_SOURCE,
  PROXY_MARK,
  type RedirectOptions,
  TRANSPARENT_MARK,
} from './rule-options.ts';

/** Input of `iptables-restore` (v4) or `ip6tables-restore` (v6) for a pod's namespace. Ambient contract 11.2. */
export function iptablesRules(family: 'v4' | 'v6', options: RedirectOptions): string {
  const dns = options.dns ?? true;
  const tables = [
    table('mangle', [
      `-A ISTIO_PRERT -m mark --mark ${PROXY_MARK} -j CONNMARK --set-xmark ${TRANSPARENT_MARK}`,
      `-A ISTIO_OUTPUT -m connmark --mark ${TRANSPARENT_MARK} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff`,
    ]),
    table('nat', [
      ...inbound(family, options),
      `-A ISTIO_OUTPUT -d ${PROBE_SOURCE[family]} -p tcp -m tcp -j ACCEPT`,
      ...(dns ? dnsRows(family) : []),
      `-A ISTIO_OUTPUT -p tcp -m mark --mark ${TRANSPARENT_MARK} -j ACCEPT`,
      `-A ISTIO_OUTPUT ! -d ${LOOPBACK[family]} -o lo -j ACCEPT`,
      `-A ISTIO_OUTPUT ! -d ${LOOPBACK[family]} -p tcp -m mark ! --mark ${PROXY_MARK} -j REDIRECT --to-ports ${OUTBOUND_PORT}`,
    ]),
  ];
  if (dns) {
    tables.push(
      table('raw', [
        `-A ISTIO_OUTPUT -p udp -m mark --mark ${PROXY_MARK} -m udp --dport 53 -j CT --zone 1`,
        `-A ISTIO_PRERT -p udp -m mark ! --mark ${PROXY_MARK} -m udp --sport 53 -j CT --zone 1`,
      ]),
    );
  }
  return tables.join('');
}

/** Input that removes the chains of {@link iptablesRules}. Omit tables that never had them. */
export function iptablesRemoval(options: RedirectOptions): string {
  const tables = (options.dns ?? true) ? ['mangle', 'nat', 'raw'] : ['mangle', 'nat'];
  return tables
    .map((name) =>
      [
        `*${name}`,
        '-D PREROUTING -j ISTIO_PRERT',
        '-D OUTPUT -j ISTIO_OUTPUT',
        '-F ISTIO_PRERT',
        '-F ISTIO_OUTPUT',
        '-X ISTIO_PRERT',
        '-X ISTIO_OUTPUT',
        'COMMIT\n',
      ].join('\n'),
    )
    .join('');
}

function inbound(family: 'v4' | 'v6', options: RedirectOptions): string[] {
  const rows = (options.virtualInterfaces ?? []).flatMap((name) => [
    `-A ISTIO_PRERT -i ${name} -p tcp -j REDIRECT --to-ports ${OUTBOUND_PORT}`,
    `-A ISTIO_PRERT -i ${name} -p tcp -j RETURN`,
  ]);
  if (options.bypassInbound === true) return rows;
  return [
    ...rows,
    `-A ISTIO_PRERT -s ${PROBE_SOURCE[family]} -p tcp -m tcp -j ACCEPT`,
    `-A ISTIO_PRERT ! -d ${LOOPBACK[family]} -p tcp -m tcp ! --dport ${INBOUND_HBONE_PORT} -m mark ! --mark ${PROXY_MARK} -j REDIRECT --to-ports ${INBOUND_PLAINTEXT_PORT}`,
  ];
}

function dnsRows(family: 'v4' | 'v6'): string[] {
  return [
    `-A ISTIO_OUTPUT ! -o lo -p udp -m mark ! --mark ${PROXY_MARK} -m udp --dport 53 -j REDIRECT --to-ports ${DNS_PORT}`,
    `-A ISTIO_OUTPUT ! -d ${LOOPBACK[family]} -p tcp -m tcp --dport 53 -m mark ! --mark ${PROXY_MARK} -j REDIRECT --to-ports ${DNS_PORT}`,
  ];
}

function table(name: string, rules: readonly string[]): string {
  const head = [`*${name}`, ':ISTIO_PRERT - [0:0]', ':ISTIO_OUTPUT - [0:0]'];
  const jumps = ['-A PREROUTING -j ISTIO_PRERT', '-A OUTPUT -j ISTIO_OUTPUT'];
  return `${[...head, ...jumps, ...rules, 'COMMIT'].join('\n')}\n`;
}
