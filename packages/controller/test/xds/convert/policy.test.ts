import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Policy, type PolicyMatch, securityProto } from '@kmesh/api';
import { convertPolicy } from '../../../src/xds/convert/policy.ts';
import { assertRejects } from '../support/resources.ts';

function convert(message: securityProto.Authorization): Policy {
  return convertBytes(securityProto.Authorization.encode(message));
}

function convertBytes(bytes: Uint8Array): Policy {
  return convertPolicy(securityProto.Authorization.decodeKeepingUnknown(bytes));
}

function withMatch(match: securityProto.Match): securityProto.Authorization {
  return { name: 'p', namespace: 'ns', rules: [{ clauses: [{ matches: [match] }] }] };
}

function assertRejected(message: securityProto.Authorization, reason: RegExp): void {
  assertRejects(() => convert(message), reason);
}

/** One length-delimited field; nested ones are messages with unknown fields. */
function field(number: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.of((number << 3) | 2, body.length), body]);
}

const future = field(15, Buffer.from('?'));
const knownMatch = field(3, field(1, Buffer.from('td/ns/a/sa/b')));

describe('conversion of policies', () => {
  test('every field of a match is converted', () => {
    const block = { address: Uint8Array.of(10, 1, 2, 3), length: 8 };
    const account = { namespace: 'ns', serviceAccount: 'sa' };
    const policy = convert({
      name: 'p',
      namespace: 'ns',
      scope: 2,
      action: 1,
      dryRun: true,
      rules: [
        {
          clauses: [
            {
              matches: [
                {
                  namespaces: [{ exact: 'a' }],
                  notNamespaces: [{ prefix: 'b' }],
                  principals: [{ suffix: 'c' }],
                  notPrincipals: [{ presence: {} }],
                  serviceAccounts: [account],
                  notServiceAccounts: [account],
                  sourceIps: [block],
                  notSourceIps: [block],
                  destinationIps: [block],
                  notDestinationIps: [{ address: new Uint8Array(4), length: 0 }],
                  destinationPorts: [80],
                  notDestinationPorts: [65_536 + 443],
                },
              ],
            },
          ],
        },
      ],
    });
    const match: PolicyMatch = {
      namespaces: [{ kind: 'Exact', value: 'a' }],
      notNamespaces: [{ kind: 'Prefix', value: 'b' }],
      principals: [{ kind: 'Suffix', value: 'c' }],
      notPrincipals: [{ kind: 'Presence' }],
      serviceAccounts: [account],
      notServiceAccounts: [account],
      sourceIps: ['10.0.0.0/8'],
      notSourceIps: ['10.0.0.0/8'],
      destinationIps: ['10.0.0.0/8'],
      notDestinationIps: ['0.0.0.0/0'],
      destinationPorts: [80],
      notDestinationPorts: [443],
    };
    assert.deepEqual(policy, {
      name: 'p',
      namespace: 'ns',
      scope: 'WorkloadSelector',
      action: 'Deny',
      rules: [[[match]]],
      dryRun: true,
    });
  });

  test('unknown scopes and actions reject the policy instead of becoming the first of their kind', () => {
    assertRejected({ scope: 3 as never }, /scope has the unsupported value 3/);
    assertRejected({ action: 2 as never }, /action has the unsupported value 2/);
  });

  test('RBC-27: one invalid CIDR block among valid ones rejects the policy', () => {
    const good = { address: Uint8Array.of(10, 0, 0, 0), length: 8 };
    for (const bad of [{ address: new Uint8Array(5), length: 8 }, { ...good, length: 33 }, { length: 8 }]) {
      assertRejected(withMatch({ sourceIps: [good, bad] }), /source_ips has an invalid CIDR block/);
      assertRejected(
        withMatch({ notDestinationIps: [bad] }),
        /not_destination_ips has an invalid CIDR block/,
      );
    }
  });

  test('RBC-27: a string matcher without any branch rejects the policy', () => {
    assertRejected(withMatch({ notPrincipals: [{}] }), /not_principals has a string matcher without/);
  });

  test('RBC-29: an unknown field marks the smallest enclosing part', () => {
    const policyOf = (...rule: readonly Uint8Array[]): Policy => convertBytes(field(5, ...rule));
    const known: PolicyMatch = { principals: [{ kind: 'Exact', value: 'td/ns/a/sa/b' }] };
    const inMatch = policyOf(field(1, field(2, future)));
    assert.deepEqual(inMatch.rules, [[[{ hasUnknownField: true }]]]);
    const besideKnown = policyOf(field(1, field(2, knownMatch, future)));
    assert.deepEqual(besideKnown.rules, [[[{ ...known, hasUnknownField: true }]]]);
    const inClause = policyOf(field(1, field(2, knownMatch), future));
    assert.deepEqual(inClause.rules, [[[{ hasUnknownField: true }]]]);
    const inRule = policyOf(field(1, field(2, knownMatch)), future);
    assert.deepEqual(inRule.rules, [[[known], [{ hasUnknownField: true }]]]);
    const newBranch = policyOf(field(1, field(2, field(3, field(9, Buffer.from('.*'))))));
    assert.deepEqual(newBranch.rules, [[[{ principals: [], hasUnknownField: true }]]]);
  });

  test('an unknown field at the top level is ignored', () => {
    const bytes = Buffer.concat([
      securityProto.Authorization.encode(withMatch({ principals: [{ exact: 'x' }] })),
      future,
    ]);
    assert.deepEqual(convertBytes(bytes).rules, [[[{ principals: [{ kind: 'Exact', value: 'x' }] }]]]);
  });

  test('the STRICT policy of istiod keeps its presence matcher', () => {
    assert.deepEqual(convert(withMatch({ notPrincipals: [{ presence: {} }] })).rules, [
      [[{ notPrincipals: [{ kind: 'Presence' }] }]],
    ]);
  });
});
