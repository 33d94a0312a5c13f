import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { LogFields, Logger } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { type ControlPlane, createXdsClient, type XdsClient } from '@kmesh/controller';
import { createAuthority, type FakeIstiod, type FakeIstiodOptions, startFakeIstiod } from '@kmesh/lab';

interface Line {
  readonly message: string;
  readonly fields: LogFields;
}

interface Connected {
  readonly client: XdsClient;
  readonly lines: readonly Line[];
}

async function istiodOf(context: TestContext, options: FakeIstiodOptions = {}): Promise<FakeIstiod> {
  const istiod = await startFakeIstiod(options);
  context.after(() => istiod.close());
  return istiod;
}

function connect(context: TestContext, istiod: FakeIstiod, plane: Partial<ControlPlane> = {}): Connected {
  const lines: Line[] = [];
  const write = (message: string, fields: LogFields = {}): void => {
    lines.push({ message, fields });
  };
  const logger: Logger = { error: write, warn: write, info: write, debug: () => {} };
  const client = createXdsClient(
    {
      controlPlane: {
        address: istiod.xdsAddress,
        rootCa: istiod.rootPem,
        token: istiod.token,
        clusterId: 'Kubernetes',
        headers: {},
        ...plane,
      },
      node: {
        instanceIp: '10.0.0.1',
        podName: 'ztunnel-x',
        podNamespace: 'istio-system',
        nodeName: 'n',
        metadata: {},
      },
      onDemand: false,
      logger,
    },
    { apply: () => {} },
  );
  context.after(() => client.close());
  return { client, lines };
}

function assertBlames(line: Line | undefined, setting: string, cause: RegExp): void {
  assert.equal(line?.fields['setting'], setting);
  assert.match(String(line?.fields['cause']), cause);
  assert.equal(typeof line?.fields['nextTryMs'], 'number');
}

test('XDS-19: a control plane with another name is refused, unless ALT_XDS_HOSTNAME is that name', async (context) => {
  const istiod = await istiodOf(context, { serverNames: ['istiod.elsewhere.svc'], serverIps: ['192.0.2.1'] });
  const { client, lines } = connect(context, istiod);
  await eventually('lines.length > 0', () => lines.length > 0);
  assertBlames(lines[0], 'ALT_XDS_HOSTNAME', /not in the cert's list|does not match/);
  assert.deepEqual(client.status().synced, []);
  const accepted = connect(context, istiod, { alternativeHostname: 'istiod.elsewhere.svc' });
  await eventually(
    'accepted.client.status().synced.length === 2',
    () => accepted.client.status().synced.length === 2,
  );
  assert.deepEqual(
    accepted.lines.map(({ message }) => message),
    ['the control plane is connected'],
  );
});

test('XDS-20: a root that a symbolic link replaces is trusted from the next connection on', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'kmesh-root-'));
  context.after(() => rm(folder, { recursive: true }));
  const publish = async (name: string, pem: string): Promise<void> => {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'root-cert.pem'), pem);
    await symlink(name, join(folder, `${name}.link`));
    await rename(join(folder, `${name}.link`), join(folder, '..data'));
  };
  const istiod = await istiodOf(context);
  await publish('first', createAuthority().rootPem);
  await symlink('..data/root-cert.pem', join(folder, 'root-cert.pem'));
  const { client, lines } = connect(context, istiod, { rootCa: join(folder, 'root-cert.pem') });
  await eventually('lines.length > 1', () => lines.length > 1);
  assertBlames(lines[0], 'XDS_ROOT_CA', /certificate/);
  assert.equal(client.status().connected, false);
  await publish('second', istiod.rootPem);
  await eventually('client.status().synced.length === 2', () => client.status().synced.length === 2);
});

test('a wrong address is one log line per attempt that names the setting, the cause and the next attempt', async (context) => {
  const istiod = await istiodOf(context);
  const { lines, client } = connect(context, istiod, { address: 'https://no-such-host.invalid:15012' });
  await eventually('lines.length > 0', () => lines.length > 0);
  assertBlames(lines[0], 'XDS_ADDRESS', /no-such-host\.invalid/);
  assert.equal(client.status().lastError?.setting, 'XDS_ADDRESS');
});

test('a plaintext control plane behind an https address is named as a wrong address', async (context) => {
  const istiod = await istiodOf(context);
  const { lines } = connect(context, istiod, {
    address: istiod.plaintextXdsAddress.replace('http:', 'https:'),
  });
  await eventually('lines.length > 0', () => lines.length > 0);
  assertBlames(lines[0], 'XDS_ADDRESS', /./);
});

test('XDS-03: the plaintext port of istiod serves the mesh too', async (context) => {
  const istiod = await istiodOf(context);
  const { client, lines } = connect(context, istiod, { address: istiod.plaintextXdsAddress });
  await eventually('client.status().synced.length === 2', () => client.status().synced.length === 2);
  assert.deepEqual(
    lines.map(({ message }) => message),
    ['the control plane is connected'],
  );
});
