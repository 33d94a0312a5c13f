import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Logger } from '@kmesh/api';
import { createNetworkNamespace } from '@kmesh/linux';
import { PodCapture, readsAsCaptured } from '../../src/pods/capture-rules.ts';
import { podPrograms } from '../../src/pods/run-in-namespace.ts';

const ipv6Addresses = {
  none: '00000000000000000000000000000001 01 80 10 80       lo\n',
  linkLocal: 'fe80000000000000c4a4bdfffe6b5b8d 02 40 20 80     eth0\n',
  global: 'fd000010000100000000000000000007 02 40 00 80     eth0\n',
};

const toProxy = { redirect: { port: 15001 } };
const notTo = (protocol: string) => ({
  match: { op: '!=', left: { payload: { protocol, field: 'daddr' } }, right: 'loopback' },
});
const nftables = (protocol: string) => ({
  family: 'inet',
  table: 'istio-ambient-nat',
  chain: 'istio-output',
  expr: [notTo(protocol), toProxy],
});
const iptables = (family: 'ip' | 'ip6', statement: object) => ({
  ...{ family, table: 'nat', chain: 'ISTIO_OUTPUT' },
  expr: [notTo(family), { counter: { packets: 0, bytes: 0 } }, statement],
});
const unread = { xt: { type: 'target', name: 'REDIRECT' } };
const legacy = `*nat
:ISTIO_OUTPUT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
`;

interface Pod {
  readonly addresses?: string;
  readonly ip?: string;
  readonly ip6?: string;
  readonly rules?: readonly object[];
}

const cases: readonly (readonly [what: string, pod: Pod, captured: boolean])[] = [
  ['a pod without any rule', {}, false],
  ["nftables' rule", { rules: [nftables('ip')] }, true],
  ['a link-local address requires no IPv6 rule', linkLocal([nftables('ip')]), true],
  ['an IPv6 address requires an IPv6 rule', both([nftables('ip')]), false],
  ['rules for both families', both([nftables('ip'), nftables('ip6')]), true],
  ['only a rule for IPv6', both([nftables('ip6')]), false],
  ['iptables over nftables, as nft reads it', { rules: [iptables('ip', toProxy)] }, true],
  [
    'iptables over nftables, where nft reads nothing but names',
    both([iptables('ip', unread), iptables('ip6', unread)]),
    true,
  ],
  ['iptables of old', { addresses: ipv6Addresses.global, ip: legacy, ip6: legacy }, true],
  ['only legacy iptables rules for IPv4', { addresses: ipv6Addresses.global, ip: legacy }, false],
  [
    'rules that redirect elsewhere, and those of the inbound side',
    {
      ip: legacy.replace('15001', '15053'),
      rules: [
        { ...nftables('ip'), expr: [notTo('ip'), { redirect: { port: 15053 } }] },
        { ...nftables('ip'), chain: 'istio-prerouting' },
        { ...iptables('ip', toProxy), chain: 'ISTIO_PRERT' },
        { ...nftables('ip'), table: 'somebody' },
        iptables('ip', { accept: null }),
        iptables('ip', { xt: null }),
      ],
    },
    false,
  ],
];

for (const [what, pod, captured] of cases) {
  test(`capture is ${captured ? 'seen' : 'not seen'}: ${what}`, () => {
    assert.equal(readsAsCaptured(listing(pod)), captured);
  });
}

test('a truncated listing does not count as one without rules', () => {
  assert.throws(() => readsAsCaptured('== addresses\n== ip\n== ip6\n== nft\n{"nftables": ['), SyntaxError);
});

function linkLocal(rules: readonly object[]): Pod {
  return { addresses: ipv6Addresses.none + ipv6Addresses.linkLocal, rules };
}

function both(rules: readonly object[]): Pod {
  return { addresses: ipv6Addresses.none + ipv6Addresses.global, rules };
}

/** The listing that the pod prints. */
function listing({ addresses = ipv6Addresses.none, ip = '', ip6 = '', rules = [] }: Pod): string {
  const nftables = [{ metainfo: { version: '1.0.6' } }, ...rules.map((rule) => ({ rule }))];
  return `== addresses\n${addresses}== ip\n${ip}== ip6\n${ip6}== nft\n${JSON.stringify({ nftables })}`;
}

test('legacy iptables rules of a pod are read with the programs of the image only', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-programs-'));
  const { PATH } = process.env;
  context.after(() => {
    process.env['PATH'] = PATH;
    rmSync(folder, { recursive: true });
  });
  for (const program of podPrograms)
    symlinkSync(execFileSync('which', [program], { encoding: 'utf8' }).trim(), join(folder, program));
  const warnings: string[] = [];
  const logger = { warn: (message: string) => void warnings.push(message) } as unknown as Logger;
  using namespace = createNetworkNamespace('captured');
  const inside = (program: string, args: readonly string[], input = '') =>
    execFileSync('nsenter', [`--net=${namespace.path}`, program, ...args], { input });
  const found = async () => {
    process.env['PATH'] = folder;
    using capture = new PodCapture(namespace, 'ns/pod', logger);
    const result = await capture.found;
    process.env['PATH'] = PATH;
    return result;
  };
  assert.equal(await found(), false);
  inside('iptables-legacy-restore', [], legacy);
  assert.equal(await found(), true);
  inside('ip', ['address', 'add', 'fd00::7/64', 'dev', 'lo', 'nodad']);
  assert.equal(await found(), false, 'its IPv6 connections are not captured');
  inside('ip6tables-legacy-restore', [], legacy.replace('127.0.0.1/32', '::1/128'));
  assert.equal(await found(), true);
  assert.deepEqual(
    warnings.filter((message) => message.includes('cannot be read')),
    [],
  );
});
