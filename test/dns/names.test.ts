import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { keyOf } from '@kmesh/lab';
import { type DnsScene, dnsScene, named, type Resolver, until } from './scene.ts';

let scene: DnsScene;
const headless = named('ns1/headless.ns1.svc.cluster.local', []);
const headlessV6 = named('ns1/headless-v6.ns1.svc.cluster.local', [], { ipFamilies: 'IPv6' });
const set = named('ns1/set.ns1.svc.cluster.local', []);

before(async () => {
  scene = await dnsScene();
  const { mesh } = scene;
  await mesh.apply(
    named('ns1/www.google.com', ['1.1.1.1']),
    named('ns1/productpage.ns1.svc.cluster.local', ['9.9.9.9']),
    named('ns2/example.ns2.svc.cluster.local', ['10.10.10.10']),
    named('ns2/private.ns2.svc.cluster.local', ['10.10.10.11'], { visibility: 'Namespace' }),
    named('ns1/private.ns1.svc.cluster.local', ['10.10.10.12'], { visibility: 'Namespace' }),
    named('ns2/details.ns2.svc.cluster.remote', ['11.11.11.11', '12.12.12.12', '13.13.13.13', '14.14.14.14']),
    named('ns1/dual.localhost', ['1.1.1.1', '2002::1']),
    named('ns1/ipv6.localhost', ['2002::2']),
    named('ns1/*.wildcard', ['10.1.2.1']),
    named('ns1/*.b.wildcard', ['10.1.2.2']),
    named('ns1/*.svc.mesh.company.net', ['10.1.2.3']),
    named('ns1/elsewhere.example', [], { vips: [{ network: 'nw2', ip: '2.2.2.2' }] }),
    named('ns1/both.example', [], {
      vips: [
        { network: 'nw2', ip: '2.2.2.2' },
        { network: '', ip: '3.3.3.3' },
      ],
    }),
    named('ns1/outside.example', []),
    named('ns3/preferred.io', ['10.20.0.3']),
    named('ns-preferred/preferred.io', ['10.20.0.2']),
    named('ns3/local.io', ['10.20.1.3'], { canonical: true }),
    named('ns1/local.io', ['10.20.1.1']),
    named(
      'ns1/many.example',
      [...Array(256).keys()].map((last) => `10.30.0.${last}`),
    ),
    headless,
    headlessV6,
    set,
  );
  const member = (key: string) => ({ services: { [key]: { 80: 8080 } } });
  for (const name of ['one', 'two']) {
    await mesh.pod({ name, namespace: 'ns1', captured: false, workload: member(keyOf(headless)) });
  }
  await mesh.pod({
    name: 'six',
    namespace: 'ns1',
    captured: false,
    workload: member(keyOf(headlessV6)),
  });
  await mesh.pod({
    name: 'set-0',
    namespace: 'ns1',
    captured: false,
    workload: { workloadName: 'set', ...member(keyOf(set)) },
  });
  // The names go to the answering thread after the acknowledgement.
  await until(async () => (await scene.dig('many.example A')).answers.length > 0);
  // The proxy reads its resolv.conf every five seconds.
  await until(async () => (await scene.dig('www.bing.com A')).status === 'NOERROR');
});
after(async () => {
  await scene[Symbol.asyncDispose]();
});

const cases: readonly [
  id: string,
  question: string,
  status: string,
  authoritative: boolean,
  answers: readonly string[],
][] = [
  ['DNS-01', 'productpage.ns1. NS', 'NXDOMAIN', false, []],
  ['DNS-02', 'www.google.com. A', 'NOERROR', true, ['www.google.com. A 1.1.1.1']],
  [
    'DNS-03',
    'www.google.com.ns1.svc.cluster.local. A',
    'NOERROR',
    true,
    ['www.google.com. A 1.1.1.1', 'www.google.com.ns1.svc.cluster.local. CNAME www.google.com.'],
  ],
  ['DNS-04', 'www.bing.com. A', 'NOERROR', false, ['www.bing.com. A 203.0.113.7']],
  [
    'DNS-05',
    'productpage.ns1.svc.cluster.local. A',
    'NOERROR',
    true,
    ['productpage.ns1.svc.cluster.local. A 9.9.9.9'],
  ],
  ['DNS-05', 'productpage.ns1. A', 'NOERROR', true, ['productpage.ns1. A 9.9.9.9']],
  ['DNS-05', 'productpage. A', 'NOERROR', true, ['productpage. A 9.9.9.9']],
  [
    'DNS-06',
    'productpage.ns1.ns1.svc.cluster.local. A',
    'NOERROR',
    true,
    ['productpage.ns1. A 9.9.9.9', 'productpage.ns1.ns1.svc.cluster.local. CNAME productpage.ns1.'],
  ],
  ['DNS-07', 'productpage. AAAA', 'NOERROR', true, []],
  ['DNS-08', 'example.ns2. A', 'NOERROR', true, ['example.ns2. A 10.10.10.10']],
  ['DNS-08', 'example.ns2.svc. A', 'NOERROR', true, ['example.ns2.svc. A 10.10.10.10']],
  ['DNS-09', 'example. A', 'NXDOMAIN', false, []],
  ['DNS-10', 'private.ns2.svc.cluster.local. A', 'NXDOMAIN', false, []],
  [
    'DNS-10',
    'private.ns1.svc.cluster.local. A',
    'NOERROR',
    true,
    ['private.ns1.svc.cluster.local. A 10.10.10.12'],
  ],
  [
    'DNS-11',
    'details.ns2.svc.cluster.remote. A',
    'NOERROR',
    true,
    ['11.11.11.11', '12.12.12.12', '13.13.13.13', '14.14.14.14'].map(
      (ip) => `details.ns2.svc.cluster.remote. A ${ip}`,
    ),
  ],
  ['DNS-11', 'details.ns2. A', 'NXDOMAIN', false, []],
  ['DNS-12', 'dual.localhost. A', 'NOERROR', true, ['dual.localhost. A 1.1.1.1']],
  ['DNS-12', 'dual.localhost. AAAA', 'NOERROR', true, ['dual.localhost. AAAA 2002::1']],
  ['DNS-13', 'ipv6.localhost. A', 'NOERROR', true, []],
  ['DNS-14', 'foo.wildcard. A', 'NOERROR', true, ['foo.wildcard. A 10.1.2.1']],
  ['DNS-14', 'a.b.wildcard. A', 'NOERROR', true, ['a.b.wildcard. A 10.1.2.2']],
  [
    'DNS-15',
    'foo.foons.svc.mesh.company.net. A',
    'NOERROR',
    true,
    ['foo.foons.svc.mesh.company.net. A 10.1.2.3'],
  ],
  [
    'DNS-16',
    'foo.svc.mesh.company.net.ns1.svc.cluster.local. A',
    'NOERROR',
    true,
    ['foo.svc.mesh.company.net.ns1.svc.cluster.local. A 10.1.2.3'],
  ],
  ['DNS-17', 'elsewhere.example. A', 'NOERROR', true, []],
  ['DNS-17', 'both.example. A', 'NOERROR', true, ['both.example. A 3.3.3.3']],
  ['DNS-21', 'outside.example. A', 'NXDOMAIN', false, []],
  ['DNS-22', 'preferred.io. A', 'NOERROR', true, ['preferred.io. A 10.20.0.2']],
  ['DNS-22', 'local.io. A', 'NOERROR', true, ['local.io. A 10.20.1.1']],
];

for (const [id, question, status, authoritative, answers] of cases) {
  test(`${id}: dig ${question}`, async () => {
    for (const transport of ['+notcp', '+tcp']) {
      const answer = await scene.dig(`${transport} ${question}`);
      assert.equal(answer.status, status, answer.text);
      assert.equal(answer.flags.includes('aa'), authoritative, answer.text);
      assert.ok(answer.flags.includes('ra'), answer.text);
      assert.deepEqual(answer.answers, answers);
    }
  });
}

test('DNS-18: a headless service is answered with an address of every endpoint, by family', async () => {
  assert.equal((await scene.dig('headless.ns1. A')).answers.length, 2);
  assert.equal((await scene.dig('headless.ns1. AAAA')).answers.length, 2);
});

test('DNS-19: a headless service of IPv6 is answered for AAAA, and empty for A', async () => {
  assert.equal((await scene.dig('headless-v6.ns1. AAAA')).answers.length, 1);
  const other = await scene.dig('headless-v6.ns1. A');
  assert.equal(other.status, 'NOERROR', other.text);
  assert.ok(other.flags.includes('aa'));
  assert.deepEqual(other.answers, []);
});

test('DNS-20: a pod of a StatefulSet has its own name, and names of other pods are forwarded', async () => {
  assert.equal((await scene.dig('set-0.set.ns1.svc.cluster.local. A')).answers.length, 1);
  assert.equal((await scene.dig('set-7.set.ns1.svc.cluster.local. A')).status, 'NXDOMAIN');
});

test('DNS-23: dig gets all of 256 addresses by repeating the query over TCP', async () => {
  const short = await scene.dig('+noedns +ignore many.example. A');
  assert.ok(short.flags.includes('tc') && short.answers.length < 256);
  assert.equal((await scene.dig('many.example. A')).answers.length, 256);
});

test('DNS-24: a query with EDNS gets an answer with EDNS', async () => {
  const small = await scene.dig('+bufsize=512 +dnssec www.google.com. A');
  assert.match(small.text, /EDNS: version: 0, flags: do; udp: 512/);
  assert.match((await scene.dig('+bufsize=4096 www.google.com. A')).text, /udp: 4096/);
});

test('DNS-28: another opcode than QUERY gets NOTIMP', async () => {
  assert.equal((await scene.dig('+opcode=status www.google.com. A')).status, 'NOTIMP');
});

test('DNS-28: a response sent as a query gets FORMERR', async () => {
  const code = `
    const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', (message) => { console.log(message.readUInt16BE(2) & 0xf); socket.close(); });
    const response = '00008180000100000000000003777777' + '06676f6f676c6503636f6d0000010001';
    socket.send(Buffer.from(response, 'hex'), 53, process.argv[1]);`;
  const { stdout } = await scene.client.run(process.execPath, ['-e', code, scene.resolver], { check: false });
  assert.equal(stdout.trim(), '1');
});

for (const how of ['glibc', 'musl', 'go', 'node'] satisfies Resolver[]) {
  test(`programs with the resolver of ${how} resolve short names, both families, outside names, and get NXDOMAIN`, async () => {
    assert.deepEqual(await scene.lookUp(how, how === 'node' ? 'productpage.ns1' : 'productpage'), [
      '9.9.9.9',
    ]);
    assert.deepEqual(await scene.lookUp(how, 'dual.localhost.', 6).then((found) => found), ['2002::1']);
    assert.deepEqual(await scene.lookUp(how, 'www.bing.com'), ['203.0.113.7']);
    assert.equal((await scene.lookUp(how, 'headless.ns1.svc.cluster.local')).length, 2);
    assert.match((await scene.lookUp(how, 'absent.example')).join(), /error/);
    const many = await scene.lookUp(how, 'many.example');
    if (how === 'musl')
      assert.ok(many.length > 20, 'musl does not query over TCP: it has the truncated answer');
    else assert.equal(many.length, 256);
  });
}

const expansions: readonly [question: string, answered: boolean][] = [
  ['example', false],
  ['example.ns2', true],
  ['example.ns2.svc', true],
  ['example.ns2.not-svc', false],
  ['set-0.set.ns1.svc', true],
  ['set-0.set.ns1.not-svc', false],
  ['example.ns2.svc.cluster.local', true],
];

for (const [question, answered] of expansions) {
  test(`DNS-30: ${question} is ${answered ? 'expanded to a name of the mesh' : 'not expanded'}`, async () => {
    const { status, flags, text } = await scene.dig(`${question}. A`);
    assert.equal(status, answered ? 'NOERROR' : 'NXDOMAIN', text);
    assert.equal(flags.includes('aa'), answered, text);
  });
}

for (const how of ['glibc', 'musl', 'go', 'node'] satisfies Resolver[]) {
  test(`the resolver of ${how} gets the same answers as dig for every name of these rows`, async () => {
    for (const [id, question, , , answers] of cases) {
      const [name = '', type = ''] = question.split(' ');
      if (type !== 'A' && type !== 'AAAA') continue;
      const found = await scene.lookUp(how, name, type === 'A' ? 4 : 6);
      const expected = answers.flatMap((line) => new RegExp(` ${type} (.*)`).exec(line)?.[1] ?? []);
      if (expected.length > 0) assert.deepEqual(found, expected.sort(), `${id}: ${name}`);
      else assert.match(found.join(), /error/, `${id}: ${name}`);
    }
  });
}

test('DNS-31: queries of a program over UDP and TCP are captured, and those of the proxy are not', async () => {
  // The resolver answers names of the mesh with NXDOMAIN; the proxy with addresses.
  for (const transport of ['+notcp', '+tcp']) {
    assert.equal((await scene.dig(`${transport} www.google.com. A`)).status, 'NOERROR');
    assert.equal((await scene.dig(`${transport} www.bing.com. A`)).status, 'NOERROR');
  }
});

test('DNS-32: one socket that queries two resolvers gets each answer from the address that it queried', async () => {
  const second = await scene.secondResolver();
  const code = `
    const socket = require('node:dgram').createSocket('udp4');
    const servers = process.argv.slice(1);
    const seen = new Set();
    socket.on('message', (message, from) => {
      seen.add(message.readUInt16BE(0) + ' ' + from.address + ':' + from.port);
      if (seen.size === servers.length) { console.log([...seen].sort().join(',')); socket.close(); }
    });
    servers.forEach((server, index) => {
      const query = Buffer.from('00000100000100000000000003777777' + '06676f6f676c6503636f6d0000010001', 'hex');
      query.writeUInt16BE(index, 0);
      socket.send(query, 53, server);
    });
    setTimeout(() => { console.log('only', [...seen].join(',')); process.exit(1); }, 5000).unref();`;
  const { stdout } = await scene.client.run(process.execPath, ['-e', code, scene.resolver, second], {
    check: false,
  });
  assert.equal(stdout.trim(), `0 ${scene.resolver}:53,1 ${second}:53`);
});
