import assert from 'node:assert/strict';
import { test } from 'node:test';
import dnsPacket, { type Answer, type Packet } from 'dns-packet';
import {
  packAddresses,
  udpLimit,
  writeAnswer,
  writeFormatRefusal,
  writeRefusal,
} from '../src/wire/answer.ts';
import { parseQuery, type Query, responseCode } from '../src/wire/query.ts';
import { clientAnswer, judgeUpstream, upstreamQuery } from '../src/wire/upstream.ts';

/** A query encoded by another implementation. */
function encoded(name: string, fields: Partial<Packet> = {}): Buffer {
  return dnsPacket.encode({
    ...{ type: 'query', id: 77, flags: dnsPacket.RECURSION_DESIRED, questions: [{ name, type: 'A' }] },
    ...fields,
  });
}

function edns(udpPayloadSize: number, flags = 0): Answer[] {
  return [
    {
      type: 'OPT',
      name: '.',
      udpPayloadSize,
      flags,
      extendedRcode: 0,
      ednsVersion: 0,
      flag_do: false,
      options: [],
    },
  ];
}

function parsed(message: Uint8Array): Query {
  const result = parseQuery(message);
  assert.equal(result.kind, 'query');
  return (result as { query: Query }).query;
}

function answered(message: Uint8Array, addresses: readonly string[], cnameLabels?: number, limit?: number) {
  const query = parsed(message);
  const into = Buffer.alloc(70_000, 0xee);
  const length = writeAnswer(into, 8, {
    ...{ query, cnameLabels, limit: limit ?? udpLimit(query) },
    addresses: packAddresses(addresses, query.type === 28 ? 16 : 4),
  });
  return { length, packet: dnsPacket.decode(into.subarray(8, 8 + length)) };
}

const addressesIn = (packet: Packet): string[] =>
  (packet.answers ?? []).flatMap((answer) => ('data' in answer && answer.type === 'A' ? [answer.data] : []));
const many = [...Array(256).keys()].map((last) => `10.30.0.${last}`);

test('an answer is decoded correctly by another implementation, with the name as in the query', () => {
  const { packet } = answered(encoded('WwW.Example.cOm'), ['1.2.3.4', '5.6.7.8']);
  assert.equal(packet.id, 77);
  assert.equal(packet.flag_qr && packet.flag_aa && packet.flag_rd && packet.flag_ra && !packet.flag_tc, true);
  assert.equal((packet as { rcode?: string }).rcode, 'NOERROR');
  assert.deepEqual(packet.questions, [{ name: 'WwW.Example.cOm', type: 'A', class: 'IN' }]);
  assert.deepEqual(addressesIn(packet).sort(), ['1.2.3.4', '5.6.7.8']);
  for (const answer of packet.answers ?? []) {
    assert.equal(answer.name, 'WwW.Example.cOm');
    assert.equal('ttl' in answer && answer.ttl, 30);
  }
});

test('DNS-03: a CNAME points from the question to the name without the search domain, which has the addresses', () => {
  const { packet } = answered(encoded('www.google.com.ns1.svc.cluster.local'), ['1.1.1.1'], 3);
  assert.deepEqual(
    packet.answers?.map((answer) => [answer.name, answer.type, 'data' in answer ? answer.data : '']),
    [
      ['www.google.com.ns1.svc.cluster.local', 'CNAME', 'www.google.com'],
      ['www.google.com', 'A', '1.1.1.1'],
    ],
  );
});

test('IPv6 addresses are read in every notation of the mesh', () => {
  const texts = ['2001:db8::1', '::1', 'fe80::', '2002:1:2:3:4:5:6:7', '::ffff:1.2.3.4', '1::8'];
  const query = encoded('a.b', { questions: [{ name: 'a.b', type: 'AAAA' }] });
  const { packet } = answered(query, texts);
  const found = (packet.answers ?? []).map((answer) => ('data' in answer ? String(answer.data) : ''));
  const bytes = (list: readonly string[]) =>
    list.map((text) => Buffer.from(packAddresses([text], 16).bytes).toString('hex')).sort();
  assert.deepEqual(bytes(found), bytes(texts));
});

test('DNS-23: 256 addresses are truncated with TC over UDP, and complete over TCP', () => {
  const short = answered(encoded('many.example'), many);
  assert.equal(short.packet.flag_tc, true);
  assert.ok(short.length <= 512);
  assert.equal(addressesIn(short.packet).length, Math.floor((512 - 30) / 16));
  const whole = answered(encoded('many.example'), many, undefined, 65_535);
  assert.equal(whole.packet.flag_tc, false);
  assert.equal(new Set(addressesIn(whole.packet)).size, 256);
});

test('DNS-24: EDNS is echoed with at least 512 bytes of payload, and its flags', () => {
  for (const [asked, echoed] of [
    [100, 512],
    [1232, 1232],
    [4096, 4096],
  ] as const) {
    const { packet, length } = answered(encoded('many.example', { additionals: edns(asked, 0x8000) }), many);
    const [opt] = packet.additionals ?? [];
    assert.ok(opt?.type === 'OPT');
    assert.equal(opt.udpPayloadSize, echoed);
    assert.equal(opt.flag_do, true);
    assert.ok(length <= echoed, `${length} bytes`);
  }
});

test('the order of addresses changes from answer to answer', () => {
  const orders = new Set(
    Array.from({ length: 50 }, () => addressesIn(answered(encoded('a.b'), many.slice(0, 4)).packet).join()),
  );
  assert.ok(orders.size > 5, `${orders.size} orders in 50 answers`);
});

const refusals: readonly [title: string, message: Buffer, code: number][] = [
  ['DNS-28: opcode STATUS', changed(encoded('a.b'), 2, 0x10), responseCode.notImplemented],
  ['DNS-28: a response as a query', changed(encoded('a.b'), 2, 0x80), responseCode.formatError],
  ['two questions', changed(encoded('a.b'), 5, 2), responseCode.formatError],
  ['no question', changed(encoded('a.b'), 5, 0), responseCode.formatError],
  ['a truncated question', encoded('a.b').subarray(0, 18), responseCode.formatError],
  ['a pointer in the question', changed(encoded('a.b'), 12, 0xc0), responseCode.formatError],
  ['a missing record', changed(encoded('a.b'), 11, 1), responseCode.formatError],
  [
    'two OPT records',
    encoded('a.b', { additionals: [...edns(512), ...edns(512)] }),
    responseCode.formatError,
  ],
];

for (const [title, message, code] of refusals) {
  test(`${title}: refused with code ${code}`, () => {
    const result = parseQuery(message);
    assert.equal(result.kind, 'refuse');
    if (result.kind !== 'refuse') return;
    assert.equal(result.code, code);
    const into = Buffer.alloc(512);
    const length = writeFormatRefusal(into, 0, message, result);
    assert.equal(into.readUInt16BE(0), 77);
    assert.equal((into[3] as number) & 0xf, code);
    assert.equal((into[2] as number) & 0x80, 0x80);
    assert.ok(length >= 12);
  });
}

test('a message shorter than a header gets no answer', () => {
  assert.equal(parseQuery(Buffer.alloc(11)).kind, 'drop');
});

test('a name with a dot inside a label is never a name of the mesh', () => {
  const message = encoded('www.google.com');
  message[16] = 0x2e;
  message[12] = 14;
  assert.equal(parsed(message).name, undefined);
});

test('a forwarded query has a new id, a random letter case and a payload size without fragments', () => {
  const message = encoded('abcdefghijklmnopqrstuvwxyz.example.com', { additionals: edns(4096) });
  const seen = new Set<string>();
  for (let round = 0; round < 20; round++) {
    const asked = upstreamQuery(message, parsed(message));
    const packet = dnsPacket.decode(Buffer.from(asked.message));
    const [question] = packet.questions ?? [];
    assert.equal(question?.name.toLowerCase(), 'abcdefghijklmnopqrstuvwxyz.example.com');
    const [opt] = packet.additionals ?? [];
    assert.equal(opt?.type === 'OPT' && opt.udpPayloadSize, 1232);
    seen.add(`${packet.id}${question?.name}`);
  }
  assert.equal(seen.size, 20);
});

test('answers of a resolver are classified: valid, in another letter case, of another question, with missing records', () => {
  const message = encoded('abcdefghij.example.com');
  const query = parsed(message);
  const asked = upstreamQuery(message, query);
  const good = Buffer.from(asked.message);
  good[2] = (good[2] as number) | 0x80;
  assert.equal(judgeUpstream(good, asked), 'accepted');
  assert.equal(judgeUpstream(changed(good, 0, (good[0] as number) ^ 1), asked), 'mismatch');
  assert.equal(judgeUpstream(changed(good, 13, (good[13] as number) ^ 0x20), asked), 'case');
  assert.equal(judgeUpstream(changed(good, 13, 0x7a), asked), 'mismatch');
  assert.equal(judgeUpstream(changed(good, good.length - 3, 28), asked), 'mismatch');
  assert.equal(judgeUpstream(changed(good, 7, 1), asked), 'malformed');
  assert.equal(judgeUpstream(Buffer.from(asked.message), asked), 'mismatch');
  const answer = clientAnswer(Uint8Array.from(good), query, 512);
  const packet = dnsPacket.decode(Buffer.from(answer));
  assert.equal(packet.id, 77);
  assert.equal(packet.questions?.[0]?.name, 'abcdefghij.example.com');
  assert.equal(packet.flag_aa, false);
  const short = dnsPacket.decode(Buffer.from(clientAnswer(Uint8Array.from(good), query, 30)));
  assert.equal(short.flag_tc, true);
});

test('any byte string is answered, refused or dropped: nothing throws or writes past the limit', () => {
  const random = lcg(20_261_128);
  const seeds = [
    encoded('www.google.com'),
    encoded('a.b', { additionals: edns(4096, 0x8000) }),
    encoded('many.example', { questions: [{ name: 'many.example', type: 'AAAA' }] }),
  ];
  const guard = 0x5a;
  for (let round = 0; round < 60_000; round++) {
    const seed = seeds[random(seeds.length)] as Buffer;
    const message =
      random(4) === 0
        ? Buffer.from(Array.from({ length: random(80) }, () => random(256)))
        : mutated(seed, random);
    const result = parseQuery(message);
    const into = Buffer.alloc(1_500, guard);
    let length = 0;
    if (result.kind === 'refuse') length = writeFormatRefusal(into, 0, message, result);
    if (result.kind === 'query') {
      const { query } = result;
      const asked = upstreamQuery(message, query);
      judgeUpstream(mutated(Buffer.from(asked.message), random), asked);
      clientAnswer(Uint8Array.from(asked.message), query, random(600) + 12);
      if (random(2) === 0) length = writeRefusal(into, 0, query, responseCode.serverFailure);
      else {
        const limit = Math.min(1_232, udpLimit(query));
        const addresses = packAddresses(many, 4);
        length = writeAnswer(into, 0, { query, addresses, limit, cnameLabels: undefined });
        assert.ok(length <= limit, `${length} of ${limit}`);
      }
    }
    assert.ok(
      into.subarray(length).every((byte) => byte === guard),
      'wrote past the end of its answer',
    );
  }
});

function changed(message: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(message);
  copy[at] = value;
  return copy;
}

function mutated(seed: Buffer, random: (below: number) => number): Buffer {
  const copy = Buffer.from(seed.subarray(0, random(3) === 0 ? random(seed.length + 1) : seed.length));
  for (let change = random(4); change > 0 && copy.length > 0; change--)
    copy[random(copy.length)] = random(256);
  return copy;
}

function lcg(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}
