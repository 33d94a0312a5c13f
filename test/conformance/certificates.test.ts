import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { type Identity, isKmeshError } from '@kmesh/api';
import { eventually, memoryLogger } from '@kmesh/api/testing';
import {
  CertificateClient,
  type CertificateClientOptions,
  CertificateManager,
  parseRevocationLists,
  RevocationStore,
  spiffeUri,
} from '@kmesh/controller';
import { createAuthority, type FakeIstiod, type FakeIstiodOptions, startFakeIstiod } from '@kmesh/lab';

const web: Identity = { trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'web' };
const webUri = 'spiffe://cluster.local/ns/default/sa/web';

function clientOf(istiod: FakeIstiod, changes: Partial<CertificateClientOptions> = {}): CertificateClient {
  return new CertificateClient({
    controlPlane: {
      address: istiod.caAddress,
      rootCa: istiod.rootPem,
      token: istiod.token,
      clusterId: 'cluster-1',
      headers: { 'x-extra': 'yes' },
    },
    lifetimeSeconds: 3600,
    impersonate: true,
    logger: memoryLogger(),
    ...changes,
  });
}

async function authorityOf(context: TestContext, options: FakeIstiodOptions = {}): Promise<FakeIstiod> {
  const istiod = await startFakeIstiod(options);
  context.after(() => istiod.close());
  return istiod;
}

function directoryOf(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `kmesh-crt-${process.pid}-`));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Replaces a mounted file as Kubernetes does: a new data directory, and a symbolic link swapped to it. */
function swap(directory: string, version: number, content: string | undefined): void {
  const data = join(directory, `..data-${version}`);
  mkdirSync(data);
  if (content !== undefined) writeFileSync(join(data, 'file.pem'), content);
  symlinkSync(`..data-${version}`, join(directory, '..next'));
  renameSync(join(directory, '..next'), join(directory, '..data'));
}

function mount(directory: string, content: string): string {
  swap(directory, 1, content);
  symlinkSync('..data/file.pem', join(directory, 'file.pem'));
  return join(directory, 'file.pem');
}

test('CRT-02: in shared mode the call impersonates the pod; in dedicated mode it carries no metadata', async (context) => {
  const istiod = await authorityOf(context, { caller: { namespace: 'default', serviceAccount: 'web' } });
  for (const impersonate of [true, false]) {
    const client = clientOf(istiod, { impersonate });
    const { chain, roots, privateKey } = await client.issue(web);
    client.close();
    assert.equal(chain[0]?.subjectAltName, `URI:${webUri}`);
    assert.ok(chain[0]?.checkPrivateKey(privateKey));
    assert.deepEqual(roots.map(String), [istiod.authority.rootPem]);
  }
  const [shared, dedicated] = istiod.certificateRequests;
  assert.deepEqual(
    [shared?.impersonated, shared?.metadataPresent, shared?.validitySeconds],
    [webUri, true, 3600],
  );
  assert.deepEqual([dedicated?.impersonated, dedicated?.metadataPresent], [undefined, false]);
  assert.equal(shared?.headers['authorization'], `Bearer ${istiod.token}`);
  assert.equal(shared?.headers['clusterid'], 'cluster-1');
  assert.equal(shared?.headers['x-extra'], 'yes');
});

for (const { title, settings, code } of [
  { title: 'an empty response', settings: { chain: 'empty' }, code: 'KMESH_CA_RESPONSE_EMPTY' },
  { title: 'a single element', settings: { chain: 'leaf only' }, code: 'KMESH_CA_ROOT_MISSING' },
  {
    title: 'text that is not a certificate',
    settings: { chain: 'garbage' },
    code: 'KMESH_CA_RESPONSE_INVALID',
  },
  {
    title: 'a leaf for another identity',
    settings: { wrongUri: 'spiffe://cluster.local/ns/default/sa/mallory' },
    code: 'KMESH_CA_SAN_MISMATCH',
  },
  {
    title: 'a refusal',
    settings: { status: { code: 16, details: 'pod not found on the node' } },
    code: 'KMESH_CA_REFUSED',
  },
] as const) {
  test(`CRT-03: ${title} is a distinct error`, async (context) => {
    const istiod = await authorityOf(context, { certificates: settings });
    const client = clientOf(istiod);
    await assert.rejects(client.issue(web), (error) => isKmeshError(error, code));
    client.close();
  });
}

test('CRT-04: several roots in the last element are all trusted; intermediates belong to the chain', async (context) => {
  const other = createAuthority({ commonName: 'second root' });
  const istiod = await authorityOf(context, {
    certificates: { extraRootsPem: [other.rootPem], intermediate: true },
  });
  const client = clientOf(istiod);
  const manager = new CertificateManager({ source: client.source, logger: memoryLogger() });
  const certificate = await manager.certificate(web, 'RealTime');
  assert.deepEqual(certificate.rootsPem, [istiod.authority.rootPem, other.rootPem]);
  assert.deepEqual(manager.trustBundlePem, certificate.rootsPem);
  const [leaf, intermediate] = certificate.chain;
  assert.equal(certificate.chain.length, 2);
  assert.ok(intermediate !== undefined && leaf?.verify(intermediate.publicKey));
  manager.close();
  client.close();
});

test("two workloads complete mutual TLS 1.3 with the manager's certificates; a revoked peer is found by its chain", async (context) => {
  const istiod = await authorityOf(context, { certificates: { intermediate: true } });
  const client = clientOf(istiod);
  const manager = new CertificateManager({ source: client.source, logger: memoryLogger() });
  context.after(() => {
    manager.close();
    client.close();
  });
  const [server, caller] = await Promise.all([
    manager.certificate(web, 'RealTime'),
    manager.certificate({ ...web, serviceAccount: 'caller' }, 'RealTime'),
  ]);
  const optionsOf = (certificate: typeof server) => ({
    cert: certificate.certificateChainPem,
    key: certificate.privateKeyPem,
    ca: [...certificate.rootsPem],
    minVersion: 'TLSv1.3' as const,
  });
  const listener = createServer({ ...optionsOf(server), requestCert: true, rejectUnauthorized: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  context.after(() => listener.close());
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connect({
    port: (listener.address() as AddressInfo).port,
    host: '127.0.0.1',
    ...optionsOf(caller),
    checkServerIdentity: () => undefined,
  });
  const [peer] = await accepted;
  const chain: Buffer[] = [];
  for (let item = peer.getPeerCertificate(true); item?.raw !== undefined; item = item.issuerCertificate) {
    chain.push(item.raw);
    if (item.issuerCertificate === item || item.issuerCertificate === undefined) break;
  }
  peer.destroy();
  socket.destroy();
  assert.ok(chain.length >= 2);
  assert.equal(spiffeUri(new X509Certificate(chain[0] ?? '')), 'spiffe://cluster.local/ns/default/sa/caller');

  const path = join(directoryOf(context), 'list');
  const intermediate = caller.chain[1];
  assert.ok(intermediate !== undefined);
  writeFileSync(path, istiod.authority.revocationList([BigInt(`0x${intermediate.serialNumber}`)]).pem);
  const store = new RevocationStore({ path, logger: memoryLogger() });
  context.after(() => store.close());
  assert.equal(store.findRevoked(chain, caller.roots)?.depth, 1);
});

test('short lifetimes are renewed at half-life over a real connection, with a new key each time', async (context) => {
  const istiod = await authorityOf(context, { certificates: { lifetimeSeconds: 2 } });
  const client = clientOf(istiod);
  const manager = new CertificateManager({ source: client.source, logger: memoryLogger() });
  const first = await manager.certificate(web, 'RealTime');
  await eventually('a renewal', () => (manager.current(web)?.version ?? 0) > first.version);
  const second = await manager.certificate(web, 'RealTime');
  assert.notEqual(second.privateKeyPem, first.privateKeyPem);
  manager.close();
  client.close();
});

test('CRT-12: a replaced root file opens a new channel; an unreadable one leaves the old channel in use', async (context) => {
  const istiod = await authorityOf(context);
  const directory = directoryOf(context);
  const path = mount(directory, istiod.rootPem);
  const logger = memoryLogger();
  const client = clientOf(istiod, {
    controlPlane: {
      address: istiod.caAddress,
      rootCa: path,
      token: istiod.token,
      clusterId: 'c',
      headers: {},
    },
    logger,
    watch: { debounceMilliseconds: 30 },
  });
  context.after(() => client.close());
  await client.issue(web);
  await client.issue(web);
  const [one, two] = istiod.certificateRequests;
  assert.equal(one?.peer, two?.peer, 'both calls use one channel');

  const newRoot = await istiod.rotateServerRoot();
  await assert.rejects(client.issue(web), (error) => isKmeshError(error, 'KMESH_CA_UNREACHABLE'));
  swap(directory, 2, newRoot);
  await eventually('a call that trusts the new root', () =>
    client.issue(web).then(
      () => true,
      () => false,
    ),
  );
  const peer = istiod.certificateRequests.at(-1)?.peer;

  swap(directory, 3, undefined);
  await eventually('a warning', async () => {
    await client.issue(web);
    return logger.lines.some((line) => line.includes('CA_ROOT_CA') && line.includes('unusable'));
  });
  assert.equal(istiod.certificateRequests.at(-1)?.peer, peer, 'the earlier channel is still used');
  const warnings = logger.lines.length;
  await client.issue(web);
  assert.ok(logger.lines.length > warnings, 'reading is tried again with each call');
  swap(directory, 4, newRoot);
  await eventually('a new channel', async () => {
    await client.issue(web);
    return istiod.certificateRequests.at(-1)?.peer !== peer;
  });
});

test('a token file is read for each call; an empty one fails the call; calls succeed again after an expired token', async (context) => {
  const istiod = await authorityOf(context);
  const path = join(directoryOf(context), 'token');
  writeFileSync(path, istiod.token);
  const client = clientOf(istiod, {
    controlPlane: {
      address: istiod.caAddress,
      rootCa: istiod.rootPem,
      token: path,
      clusterId: 'c',
      headers: {},
    },
  });
  const manager = new CertificateManager({
    source: client.source,
    logger: memoryLogger(),
    backoff: { firstMilliseconds: 20, maximumMilliseconds: 100, jitter: 0 },
  });
  istiod.setToken('rotated');
  await assert.rejects(manager.certificate(web, 'RealTime'), (error) =>
    isKmeshError(error, 'KMESH_CA_REFUSED'),
  );
  writeFileSync(path, '');
  await assert.rejects(client.issue(web), /empty/);
  writeFileSync(path, 'rotated');
  assert.equal((await manager.certificate(web, 'RealTime', { waitMilliseconds: 3000 })).identity, web);
  manager.close();
  client.close();
});

test('at most eight calls are in flight on the wire', async (context) => {
  const istiod = await authorityOf(context, { certificates: { delayMilliseconds: 20 } });
  const client = clientOf(istiod);
  const manager = new CertificateManager({ source: client.source, logger: memoryLogger() });
  const identities = Array.from({ length: 30 }, (_, index) => ({
    ...web,
    serviceAccount: `account-${index}`,
  }));
  await Promise.all(identities.map((identity) => manager.certificate(identity, 'Warmup')));
  assert.equal(istiod.certificateCallsAtOnce, 8);
  assert.equal(istiod.certificateRequests.length, 30);
  manager.close();
  client.close();
});

test('CRT-17: a revoked intermediate revokes its certificates, and none of another authority with the same name', (context) => {
  const roots = [
    createAuthority({ commonName: 'same name' }),
    createAuthority({ commonName: 'same name' }),
  ] as const;
  const [first, second] = roots.map((root) => root.intermediate({ commonName: 'same intermediate' }));
  assert.ok(first !== undefined && second !== undefined);
  const serial = 4711n;
  const chains = [first, second].map((intermediate) => [
    new X509Certificate(intermediate.issue({ uris: [webUri], serial }).certificatePem),
    new X509Certificate(intermediate.certificatePem),
  ]);
  const bundle = roots.map((root) => new X509Certificate(root.rootPem));
  const directory = directoryOf(context);
  const check = (
    name: string,
    pem: string,
    chain: number,
    trusted: readonly X509Certificate[],
  ): number | undefined => {
    writeFileSync(join(directory, name), pem);
    const store = new RevocationStore({ path: join(directory, name), logger: memoryLogger() });
    const found = store.findRevoked(chains[chain] ?? [], trusted);
    assert.equal(
      store.isRevoked(
        (chains[chain] ?? []).map((item) => item.raw),
        trusted,
      ),
      found !== undefined,
    );
    store.close();
    return found?.depth;
  };

  const intermediateRevoked = roots[0].revocationList([first.serial, second.serial]).pem;
  assert.equal(check('intermediate', intermediateRevoked, 0, bundle), 1);
  assert.equal(check('intermediate', intermediateRevoked, 1, bundle), undefined, 'signed by the other root');
  assert.equal(
    check('intermediate', intermediateRevoked, 1, []),
    undefined,
    'distinguished by key identifier alone',
  );
  assert.equal(check('intermediate', intermediateRevoked, 0, []), 1);

  const leafRevoked = first.revocationList([serial]).pem;
  assert.equal(check('leaf', leafRevoked, 0, bundle), 0);
  assert.equal(
    check('leaf', leafRevoked, 1, bundle),
    undefined,
    'same serial, same issuer name, another authority',
  );
  const both = leafRevoked + second.revocationList([1n]).pem;
  assert.equal(check('both', both, 0, bundle), 0, 'several lists in one file');
  assert.equal(check('both', both, 1, bundle), undefined);
});

test('CRT-18: a missing list is retried; an empty one is accepted; an invalid one is refused; an expired one is used', async (context) => {
  const authority = createAuthority();
  const leaf = authority.issue({ uris: [webUri] });
  const chain = [new X509Certificate(leaf.certificatePem)];
  const bundle = [new X509Certificate(authority.rootPem)];
  const revoking = authority.revocationList([leaf.serial]);
  const directory = directoryOf(context);
  const path = join(directory, 'list.pem');
  const logger = memoryLogger();
  const open = (): RevocationStore => {
    const store = new RevocationStore({
      path,
      logger,
      watch: { debounceMilliseconds: 20, retryMilliseconds: 50 },
    });
    context.after(() => store.close());
    return store;
  };

  const missing = open();
  assert.equal(missing.state, 'missing');
  assert.match(logger.lines.join('\n'), /CRL_PATH.*checks start when the file appears/);
  assert.equal(missing.isRevoked(chain, bundle), false);
  let changes = 0;
  missing.onChange(() => {
    changes += 1;
  });
  writeFileSync(path, revoking.pem);
  await eventually('the list that appeared', () => missing.isRevoked(chain, bundle));
  assert.equal(changes, 1);
  writeFileSync(path, 'garbage');
  await eventually('a warning', () =>
    logger.lines.some((line) => line.includes('loaded before stay in force')),
  );
  assert.ok(missing.isRevoked(chain, bundle), 'an invalid list does not undo a revocation');

  const disabled = open();
  assert.equal(disabled.state, 'disabled');
  assert.ok(logger.lines.some((line) => line.includes('revocation checks are off')));
  assert.equal(disabled.isRevoked(chain, bundle), false);

  writeFileSync(path, '');
  const empty = open();
  assert.deepEqual([empty.state, empty.size], ['active', 0]);

  writeFileSync(path, revoking.der);
  const binary = open();
  assert.ok(binary.isRevoked(chain, bundle), 'DER works as PEM does');

  const yesterday = new Date(Date.now() - 86_400_000);
  writeFileSync(
    path,
    authority.revocationList([leaf.serial], { thisUpdate: yesterday, nextUpdate: yesterday }).pem,
  );
  const expired = open();
  assert.ok(expired.isRevoked(chain, bundle));
  assert.ok(logger.lines.some((line) => line.includes('stay in use')));
});

test('CRT-18: a list is found when its directory is mounted later, or again', async (context) => {
  const authority = createAuthority();
  const leaf = authority.issue({ uris: [webUri] });
  const directory = join(directoryOf(context), 'mounted-later');
  const logger = memoryLogger();
  const store = new RevocationStore({
    path: join(directory, 'list.pem'),
    logger,
    watch: { debounceMilliseconds: 10, retryMilliseconds: 30 },
  });
  context.after(() => store.close());
  const chain = [new X509Certificate(leaf.certificatePem)];
  const mountWith = (serials: readonly bigint[]): void => {
    mkdirSync(directory);
    writeFileSync(join(directory, 'list.pem'), authority.revocationList(serials).pem);
  };
  mountWith([leaf.serial]);
  await eventually('the list', () => store.isRevoked(chain));
  rmSync(directory, { recursive: true });
  await eventually('the loss is detected', () => logger.lines.some((line) => line.includes('stay in force')));
  assert.ok(store.isRevoked(chain), 'the loaded list stays in force');
  mountWith([1n]);
  await eventually('the list of the new mount', () => !store.isRevoked(chain));
});

test('ROB-01: random and mutated revocation lists are read or refused without another error', () => {
  const authority = createAuthority();
  const { der } = authority.revocationList([1n, 2n, 3n]);
  let seed = 12_345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let read = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = Buffer.from(der.subarray(0, round % 3 === 0 ? random(der.length) : der.length));
    for (let change = 0; change < 3 && bytes.length > 0; change += 1)
      bytes[random(bytes.length)] = random(256);
    try {
      for (const list of parseRevocationLists(bytes)) read += list.revoked.size;
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
    }
  }
  assert.ok(read > 0);
});
