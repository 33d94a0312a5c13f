import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as caProto from '../src/codecs/certificate.ts';
import * as securityProto from '../src/codecs/security.ts';
import * as workloadProto from '../src/codecs/workload.ts';
import * as xds from '../src/codecs/xds.ts';
import * as zdsProto from '../src/codecs/zds.ts';

describe('wire codecs', () => {
  const zds: readonly (readonly [string, zdsProto.WorkloadRequest, string])[] = [
    [
      'add',
      { add: { uid: 'u', workloadInfo: { name: 'n', namespace: 's', serviceAccount: 'a' } } },
      '0a0e0a017512090a016e1201731a0161',
    ],
    ['add without workload_info', { add: { uid: 'u' } }, '0a030a0175'],
    ['del, whose uid is number 2', { del: { uid: 'u' } }, '1203120175'],
    ['snapshot_sent, which is empty', { snapshotSent: {} }, '1a00'],
    ['keep, which is number 5', { keep: { uid: 'u' } }, '2a030a0175'],
  ];
  for (const [what, message, hex] of zds) {
    test(`ZDS-01: ${what} has its exact bytes, both ways`, () => {
      assert.equal(zdsProto.WorkloadRequest.encode(message).toString('hex'), hex);
      const decoded = zdsProto.WorkloadRequest.decode(Buffer.from(hex, 'hex'));
      assert.equal(decoded.payload, Object.keys(message)[0]);
      assert.equal(zdsProto.WorkloadRequest.encode(decoded).toString('hex'), hex);
    });
  }

  test('ZDS-01: the hello and both answers have their exact bytes', () => {
    assert.equal(zdsProto.ZdsHello.encode({ version: zdsProto.Version.V1 }).toString('hex'), '0801');
    assert.equal(zdsProto.WorkloadResponse.encode({ ack: {} }).toString('hex'), '0a00');
    assert.equal(zdsProto.WorkloadResponse.encode({ ack: { error: 'no' } }).toString('hex'), '0a040a026e6f');
  });

  test('an empty ZDS packet has no payload', () => {
    assert.equal(zdsProto.WorkloadRequest.decode(Buffer.alloc(0)).payload, undefined);
  });

  test('unknown enum numbers stay numbers', () => {
    const workload = workloadProto.Workload.decode(
      workloadProto.Workload.encode({ tunnelProtocol: 77 as never }),
    );
    assert.equal(workload.tunnelProtocol, 77);
    const policy = securityProto.Authorization.decode(
      securityProto.Authorization.encode({ action: 5 as never }),
    );
    assert.equal(policy.action, 5);
  });

  test('absent and zero differ for capacity and for prefix length', () => {
    const roundTrip = (message: workloadProto.Workload) =>
      workloadProto.Workload.decode(workloadProto.Workload.encode(message)).capacity;
    assert.equal(roundTrip({}) ?? null, null);
    assert.equal(roundTrip({ capacity: { value: 0 } })?.value, 0);
    const lengths = [{}, { length: 0 }].map((address) => {
      const encoded = workloadProto.Service.encode({ addresses: [address] });
      return workloadProto.Service.decode(encoded).addresses[0]?.length ?? null;
    });
    assert.deepEqual(lengths, [null, 0]);
  });

  test('a presence matcher of zero length is kept', () => {
    const rules = [{ clauses: [{ matches: [{ notPrincipals: [{ presence: {} }] }] }] }];
    const decoded = securityProto.Authorization.decode(securityProto.Authorization.encode({ rules }));
    assert.equal(decoded.rules[0]?.clauses?.[0]?.matches?.[0]?.notPrincipals?.[0]?.matchType, 'presence');
  });

  test('unknown fields are skipped, or kept on request', () => {
    const bytes = Buffer.concat([
      securityProto.Authorization.encode({ name: 'p' }),
      Buffer.from('7a0178', 'hex'),
    ]);
    assert.equal(securityProto.Authorization.decode(bytes).$unknowns, undefined);
    const kept = securityProto.Authorization.decodeKeepingUnknown(bytes);
    assert.equal(kept.name, 'p');
    assert.equal(Buffer.from(kept.$unknowns?.[0] ?? []).toString('hex'), '7a0178');
  });

  test('the lifetime of a certificate request is a plain number', () => {
    const encoded = caProto.IstioCertificateRequest.encode({ csr: 'c', validityDuration: 86_400 });
    assert.equal(caProto.IstioCertificateRequest.decode(encoded).validityDuration, 86_400);
  });

  test('text that is not valid UTF-8 is an error', () => {
    assert.throws(() => workloadProto.Workload.decode(Buffer.of(0x0a, 1, 0xff)));
  });

  test('a response that is cut into pieces and read again is the response', () => {
    const bytes = xds.DeltaDiscoveryResponse.encode({
      systemVersionInfo: 's',
      typeUrl: 't',
      nonce: 'n',
      resources: [
        {
          name: 'a',
          version: '1',
          aliases: ['x', 'y'],
          resource: { typeUrl: 'any', value: Buffer.from('payload') },
        },
        { name: 'b' },
      ],
      removedResources: ['c', 'd'],
    });
    for (const pieceBytes of [1, 30, 1_000]) {
      const { header, pieces } = xds.splitResponse(bytes, pieceBytes);
      assert.deepEqual(header, { typeUrl: 't', nonce: 'n' });
      assert.equal(pieces.length, pieceBytes === 1_000 ? 2 : pieceBytes === 30 ? 3 : 4);
      assert.deepEqual(
        pieces.flatMap((piece) => [...xds.readPiece(piece)]),
        [
          {
            name: 'a',
            version: '1',
            aliases: ['x', 'y'],
            payload: Buffer.from('payload'),
            damage: undefined,
          },
          { name: 'b', version: '', aliases: [], payload: undefined, damage: undefined },
          'c',
          'd',
        ],
      );
    }
  });
});
