import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { isKmeshError } from '@kmesh/api';
import { memoryLogger } from '@kmesh/api/testing';
import { dumpCertificates } from '../../src/admin/config-dump.ts';
import { CertificateManager } from '../../src/certificates/certificate-manager.ts';
import { chooseCertificate, defaultBackoff, refreshAt } from '../../src/certificates/workload-certificate.ts';
import {
  identity,
  issued,
  type ManualAuthority,
  manualAuthority,
  material,
  promptAuthority,
  settle,
  type TestClock,
  testClock,
} from './fixtures.ts';

const hour = 3_600_000;
const refused = new Error('authority is busy');

interface Setup {
  readonly clock: TestClock;
  readonly authority: ManualAuthority;
  readonly manager: CertificateManager;
  readonly fresh: (lifetime?: number) => ReturnType<typeof issued>;
}

function setup(): Setup {
  const clock = testClock();
  const authority = manualAuthority();
  // A random number of 0.5 removes the jitter.
  const manager = new CertificateManager({
    source: authority.source,
    logger: memoryLogger(),
    clock,
    random: () => 0.5,
  });
  return {
    clock,
    authority,
    manager,
    fresh: (lifetime = hour) => issued(clock.now(), clock.now() + lifetime),
  };
}

test('CRT-05: refresh at half-life; expired and not yet valid mean now', () => {
  const validity = { notBefore: 0, notAfter: 1_000_000 };
  for (const [now, expected] of [
    [0, 500_000],
    [400_000, 500_000],
    [700_000, 700_000],
    [2_000_000, 2_000_000],
    [-5, -5],
  ] as const) {
    assert.equal(refreshAt(validity, now), expected);
  }
});

test('back-off starts at one second, goes to 150 s, and spreads by a fifth', () => {
  assert.deepEqual(defaultBackoff, { firstMilliseconds: 1000, maximumMilliseconds: 150_000, jitter: 0.2 });
});

test('CRT-06: ten callers ask for one new identity: one call, one certificate for all', async () => {
  const { authority, manager, fresh } = setup();
  const callers = Array.from({ length: 10 }, () => manager.certificate(identity('web'), 'RealTime'));
  await settle();
  assert.deepEqual(authority.calls, ['web']);
  await authority.answer('web', fresh());
  const certificates = await Promise.all(callers);
  assert.equal(new Set(certificates).size, 1);
  assert.equal(await manager.certificate(identity('web'), 'RealTime'), certificates[0]);
  assert.equal(authority.calls.length, 1);
  manager.close();
});

test('CRT-07: at most eight calls are in flight, and a RealTime call is started before waiting Warmup calls', async () => {
  const { authority, manager, fresh } = setup();
  const slow = Array.from({ length: 8 }, (_, index) => `slow-${index}`);
  for (const name of slow) void manager.certificate(identity(name), 'Warmup');
  for (const name of ['warm-1', 'warm-2', 'warm-3']) void manager.certificate(identity(name), 'Warmup');
  void manager.certificate(identity('urgent'), 'RealTime');
  void manager.certificate(identity('warm-3'), 'RealTime');
  await settle();
  assert.deepEqual(authority.calls, slow);
  const order: string[] = [];
  for (const name of slow.slice(0, 4)) {
    await authority.answer(name, fresh());
    assert.equal(authority.pending.length, 8);
    order.push(authority.calls.at(-1) ?? '');
  }
  assert.deepEqual(
    order,
    ['warm-3', 'urgent', 'warm-1', 'warm-2'],
    'a waiting request gets a higher priority when a connection needs it',
  );
  for (const name of [...authority.pending]) await authority.answer(name, fresh());
  assert.deepEqual(authority.pending, []);
  manager.close();
});

test('CRT-08: after a failed renewal the old certificate is used until it expires, and retries continue', async () => {
  const { clock, authority, manager, fresh } = setup();
  const first = manager.certificate(identity('web'), 'RealTime');
  await settle();
  await authority.answer('web', fresh());
  const old = await first;

  await clock.advance(hour / 2);
  assert.deepEqual(authority.calls, ['web', 'web'], 'renewal at half-life');
  await authority.answer('web', refused);
  assert.equal(await manager.certificate(identity('web'), 'RealTime'), old);
  assert.equal(manager.entries()[0]?.state, 'Available');
  await clock.advance(1000);
  assert.equal(authority.calls.length, 3, 'tried again after about a second');
  await authority.answer('web', refused);

  for (let waited = 0; waited < hour / 2; waited += 30_000) {
    await clock.advance(30_000);
    if (authority.pending.length > 0) await authority.answer('web', refused);
  }
  await assert.rejects(manager.certificate(identity('web'), 'RealTime'), /authority is busy/);
  assert.match(dumpCertificates(manager.entries())[0]?.state ?? '', /^Unavailable: .*authority is busy/);

  await clock.advance(150_000);
  await authority.answer('web', fresh());
  assert.notEqual(await manager.certificate(identity('web'), 'RealTime'), old);
  assert.equal(manager.entries()[0]?.state, 'Available');
  manager.close();
});

test('CRT-09: success resets the back-off', async () => {
  const { clock, authority, manager, fresh } = setup();
  const first = assert.rejects(manager.certificate(identity('web'), 'RealTime'), /authority is busy/);
  await settle();
  await authority.answer('web', refused);
  await first;
  await clock.advance(999);
  assert.equal(authority.calls.length, 1);
  await clock.advance(1);
  assert.equal(authority.calls.length, 2);
  await authority.answer('web', refused);
  await clock.advance(1999);
  assert.equal(authority.calls.length, 2);
  await clock.advance(1);
  await authority.answer('web', fresh(20_000));
  await clock.advance(10_000);
  await authority.answer('web', refused);
  const tries = authority.calls.length;
  await clock.advance(999);
  assert.equal(authority.calls.length, tries);
  await clock.advance(1);
  assert.equal(authority.calls.length, tries + 1, 'the first wait again');
  manager.close();
});

test('CRT-10: removing an identity during its call discards the result; the next request calls again', async () => {
  const { authority, manager, fresh } = setup();
  const forgotten: string[] = [];
  manager.onChange((change) =>
    forgotten.push(`${change.identity.serviceAccount} ${change.certificate?.version}`),
  );
  const first = assert.rejects(manager.certificate(identity('web'), 'RealTime'), (error) =>
    isKmeshError(error, 'KMESH_CERTIFICATE_FORGOTTEN'),
  );
  await settle();
  manager.forget(identity('web'));
  await first;
  await authority.answer('web', fresh());
  assert.deepEqual(manager.entries(), []);
  assert.deepEqual(forgotten, ['web undefined']);

  const second = manager.certificate(identity('web'), 'RealTime');
  await settle();
  assert.deepEqual(authority.calls, ['web', 'web']);
  await authority.answer('web', fresh());
  assert.equal((await second).identity.serviceAccount, 'web');
  manager.close();
});

test('a caller that may wait is not affected by failures; one that may not fails at once while retries continue', async () => {
  const { clock, authority, manager, fresh } = setup();
  const patient = manager.certificate(identity('web'), 'RealTime', { waitMilliseconds: 5000 });
  const hopeless = assert.rejects(
    manager.certificate(identity('web'), 'RealTime', { waitMilliseconds: 500 }),
    /no certificate of spiffe/,
  );
  await settle();
  await clock.advance(500);
  await hopeless;
  await authority.answer('web', refused);
  await assert.rejects(manager.certificate(identity('web'), 'RealTime'), /authority is busy/);
  await clock.advance(1000);
  await authority.answer('web', fresh());
  assert.equal((await patient).version, 1);
  manager.close();
});

test('ROB-08: after the clock jumped by an hour, either way, certificates are renewed without a busy loop', async () => {
  for (const jump of [hour, -hour]) {
    const clock = testClock();
    // The authority's clock does not jump.
    let offset = 0;
    const authority = promptAuthority(clock, 2 * hour, () => offset);
    const manager = new CertificateManager({
      source: authority.source,
      logger: memoryLogger(),
      clock,
      random: () => 0.5,
    });
    const first = await manager.certificate(identity('web'), 'RealTime');
    await clock.advance(10 * 60_000);
    assert.equal(authority.calls.length, 1);
    clock.jump(jump);
    offset = -jump;
    await clock.advance(30_000);
    assert.equal(authority.calls.length, 2, `renewed within 30 s of a jump of ${jump / hour} h`);
    await clock.advance(10 * 60_000);
    assert.ok(authority.calls.length < 15, `${authority.calls.length} calls in ten minutes`);
    // For a clock that was set back, every new certificate is not valid yet: the first becomes valid before them.
    const served = await manager.certificate(identity('web'), 'RealTime');
    assert.equal(served.version > first.version, jump > 0);
    assert.ok(clock.timers <= 1);

    clock.jump(-jump);
    offset = 0;
    await clock.advance(10 * 60_000);
    const settled = authority.calls.length;
    await clock.advance(20 * 60_000);
    assert.equal(authority.calls.length, settled, 'no requests once the clocks agree');
    manager.close();
  }
});

test("if the authority's clock is ahead, the certificate that becomes valid first is kept, and the log says so", async () => {
  const clock = testClock();
  const logger = memoryLogger();
  const authority = promptAuthority(clock, 4 * hour, () => hour);
  const manager = new CertificateManager({ source: authority.source, logger, clock, random: () => 0.5 });
  const first = await manager.certificate(identity('web'), 'RealTime');
  const begun = clock.now();
  const seen: number[] = [];
  manager.onChange(({ certificate }) => seen.push(certificate?.version ?? 0));
  await clock.advance(hour);
  assert.ok(authority.calls.length > 5, 'it continues to request, because the clock may be corrected');
  assert.equal(await manager.certificate(identity('web'), 'RealTime'), first);
  assert.ok(first.notBefore <= clock.now(), 'the wait ends once the first one is valid');
  assert.deepEqual(seen, [], 'no later one replaces it');
  assert.ok(logger.lines.some((line) => line.includes('not valid yet') && line.includes('peers reject it')));
  assert.ok(logger.lines.some((line) => line.includes('an earlier one')));
  const asked = authority.calls.length;
  await clock.advance(begun + 2.5 * hour - clock.now());
  assert.equal(authority.calls.length, asked, 'no requests until half-life');
  manager.close();
});

test('a renewed certificate that is not valid yet replaces the current one when it becomes valid', async () => {
  const { clock, authority, manager } = setup();
  const first = manager.certificate(identity('web'), 'RealTime');
  await settle();
  await authority.answer('web', issued(clock.now(), clock.now() + 2 * hour));
  const old = await first;
  await clock.advance(hour);
  await authority.answer('web', issued(clock.now() + hour / 2, clock.now() + 3 * hour));
  await clock.advance(hour / 2 - 1000);
  assert.equal(await manager.certificate(identity('web'), 'RealTime'), old);
  assert.equal(authority.calls.length, 2, 'no request while the next certificate is available');
  await clock.advance(1000);
  const renewed = await manager.certificate(identity('web'), 'RealTime');
  assert.equal(renewed.version, 2);
  await clock.advance(hour);
  assert.equal(authority.calls.length, 2, 'renewed at its own half-life, not before');
  manager.close();
});

test('among certificates of one identity the newest valid one is chosen, else the one that is valid first', () => {
  const from = (notBefore: number, notAfter: number) => ({ notBefore, notAfter });
  const [ended, valid, newer, soon, late] = [
    from(0, 5),
    from(1, 50),
    from(5, 40),
    from(20, 60),
    from(30, 90),
  ] as const;
  for (const [candidates, current, next] of [
    [[], undefined, undefined],
    [[ended], undefined, undefined],
    [[valid, newer], newer, undefined],
    [[newer, valid], valid, undefined],
    [[valid, soon], valid, soon],
    [[soon, valid], valid, soon],
    [[late, soon], soon, undefined],
    [[soon, late], soon, undefined],
    [[ended, late], late, undefined],
    [[valid, late, soon], valid, soon],
  ] as const) {
    assert.deepEqual(chooseCertificate([...candidates], 10), { current, next });
  }
});

test('an expired certificate from the authority is an error with back-off and does not replace a valid one', async () => {
  const clock = testClock();
  let offset = -2 * hour;
  const authority = promptAuthority(clock, hour, () => offset);
  const manager = new CertificateManager({
    source: authority.source,
    logger: memoryLogger(),
    clock,
    random: () => 0.5,
  });
  await assert.rejects(manager.certificate(identity('web'), 'RealTime'), /an expired certificate/);
  offset = 0;
  await clock.advance(1000);
  const good = await manager.certificate(identity('web'), 'RealTime');
  offset = -2 * hour;
  await clock.advance(hour / 2 + 60_000);
  assert.equal(await manager.certificate(identity('web'), 'RealTime'), good);
  manager.close();
});

test('private keys appear neither in the log nor in the dump nor in util.inspect', async () => {
  const logger = memoryLogger();
  const { leaf, privateKey } = material;
  const manager = new CertificateManager({
    source: () => Promise.resolve({ chain: [leaf], roots: [leaf], privateKey }),
    logger,
  });
  const certificate = await manager.certificate(identity('web'), 'RealTime');
  const secrets = [
    certificate.privateKeyPem.split('\n')[1] ?? '',
    certificate.privateKey.export({ format: 'jwk' })['d'] as string,
    'PRIVATE KEY',
  ];
  assert.equal(certificate.privateKeyPem, material.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const shown = [
    JSON.stringify(dumpCertificates(manager.entries())),
    JSON.stringify(manager.entries()),
    JSON.stringify(certificate),
    ...logger.lines,
    inspect(certificate, { depth: 9, showHidden: true }),
    inspect(manager, { depth: 9, showHidden: true }),
  ].join('\n');
  assert.ok(shown.includes('cluster.local'));
  for (const secret of secrets) assert.ok(!shown.includes(secret), `${secret.slice(0, 12)}… was disclosed`);
  manager.close();
});

test('the config dump has base64 PEM, decimal serials, whole seconds, and every state', async () => {
  const { clock, authority, manager } = setup();
  const ready = manager.certificate(identity('ready'), 'RealTime');
  const failing = assert.rejects(manager.certificate(identity('failing'), 'RealTime'));
  void manager.certificate(identity('starting'), 'RealTime').catch(() => undefined);
  await settle();
  await authority.answer('ready', issued(clock.now(), clock.now() + hour));
  await authority.answer('failing', refused);
  await Promise.all([ready, failing]);
  const [unavailable, available, initializing] = dumpCertificates(manager.entries());
  assert.deepEqual(initializing, {
    identity: 'spiffe://cluster.local/ns/default/sa/starting',
    state: 'Initializing',
    certChain: [],
    rootCerts: [],
  });
  assert.match(unavailable?.state ?? '', /^Unavailable: /);
  assert.equal(available?.state, 'Available');
  const [element] = available?.certChain ?? [];
  assert.equal(Buffer.from(element?.pem ?? '', 'base64').toString(), material.leaf.toString());
  assert.equal(element?.serialNumber, BigInt(`0x${material.leaf.serialNumber}`).toString());
  assert.deepEqual(
    [element?.validFrom, element?.expirationTime],
    ['2026-06-01T00:00:00Z', '2026-06-01T01:00:00Z'],
  );
  assert.equal(available?.rootCerts.length, 1);
  manager.close();
});
