import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  commandOf,
  createAuthority,
  createLab,
  type FakeIstiod,
  type Host,
  kmeshExecutable,
  type Lab,
  relayInto,
  startFakeIstiod,
} from '@kmesh/lab';
import {
  type DaemonProcess,
  type DaemonSettings,
  startDaemonProcess,
} from '@kmesh/lab/testing/daemon/daemon-process.ts';
import { istiodEnvironment } from '@kmesh/lab/testing/daemon/istiod-environment.ts';
import { type SmallMesh, startSmallMesh } from '@kmesh/lab/testing/daemon/small-mesh.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { listTcpSockets, openNetworkNamespace, tcpState } from '@kmesh/linux';

let lab: Lab;
let host: Host;

/** Without a control plane and a CNI agent it is ready as soon as it runs. */
const alone = { XDS_ADDRESS: '', PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: 'default/app/default' };

before(async () => {
  lab = await createLab();
  host = await lab.outsideHost('node');
});
after(() => lab.close());

function start(settings: Omit<DaemonSettings, 'host'> = {}): DaemonProcess {
  return startDaemonProcess({ host, ...settings, environment: { ...alone, ...settings.environment } });
}

describe('arguments', () => {
  for (const args of [[], ['proxy'], ['proxy', 'ztunnel']]) {
    test(`PRC-01: started with "${args.join(' ')}" it runs`, async () => {
      await using daemon = start({ arguments: args });
      await daemon.ready();
    });
  }

  test('PRC-02: version prints one line, help prints usage, both end with 0', async () => {
    const run = promisify(execFile);
    const version = await run(...commandOf(kmeshExecutable, 'version'));
    assert.match(version.stdout, /^version\.BuildInfo\{Version:"[^"]+", GitRevision:.+\}\n$/);
    const help = await run(...commandOf(kmeshExecutable, 'help'));
    assert.match(help.stdout, /^usage: kmesh/);
  });

  test('PRC-03: an unknown first argument prints usage and ends with 1', async () => {
    await using daemon = start({ arguments: ['prxy'] });
    assert.deepEqual(await daemon.ended, { code: 1, signal: null });
    assert.match(daemon.log(), /unknown command "prxy"[\s\S]*usage: kmesh/);
  });
});

for (const { name, port } of [
  { name: 'inbound', port: 15008 },
  { name: 'inbound plaintext', port: 15006 },
  { name: 'outbound', port: 15001 },
  { name: 'admin', port: 15000 },
  { name: 'metrics', port: 15020 },
  { name: 'readiness', port: 15021 },
]) {
  test(`PRC-04: with the ${name} port taken the start fails and names the port`, async () => {
    const taken = await host.listen({ port }, (socket) => socket.destroy());
    try {
      await using daemon = start();
      const { code } = await daemon.ended;
      assert.equal(code, 1);
      assert.match(daemon.log(), new RegExp(`kmesh: .*${port}`));
    } finally {
      await new Promise((resolve) => taken.close(resolve));
    }
  });
}

describe('shutdown', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`PRC-05: ${signal} ends an idle process within 5 s with 0`, async () => {
      await using daemon = start();
      await daemon.ready();
      const begun = performance.now();
      daemon.kill(signal);
      assert.deepEqual(await daemon.ended, { code: 0, signal: null });
      assert.ok(performance.now() - begun < 5_000);
    });
  }

  test('PRC-06: POST /quitquitquit answers 200 and ends the process with 0', async () => {
    await using daemon = start();
    await daemon.ready();
    assert.equal((await daemon.http('/quitquitquit', { method: 'POST' })).status, 200);
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
  });

  test('PRC-07: GET /quitquitquit answers 405 and the process keeps running', async () => {
    await using daemon = start();
    await daemon.ready();
    const answer = await daemon.http('/quitquitquit');
    assert.equal(answer.status, 405);
    assert.equal(answer.headers.allow, 'POST');
    await daemon.ready();
  });

  test('an unfinished request to the admin server ends at the deadline', async () => {
    await using daemon = start({ environment: { CONNECTION_TERMINATION_DEADLINE: '1s' } });
    await daemon.ready();
    const begun = performance.now();
    await holdDrain(daemon);
    daemon.kill('SIGTERM');
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
    const took = performance.now() - begun;
    assert.ok(took >= 900 && took < 4_000, `ended after ${took} ms`);
  });

  test('PRC-10: a second SIGINT during the drain ends it at once with 0', async () => {
    await using daemon = start({ environment: { CONNECTION_TERMINATION_DEADLINE: '60s' } });
    await daemon.ready();
    await holdDrain(daemon);
    daemon.kill('SIGINT');
    await daemon.until('it drains', () => daemon.log().includes('draining'));
    const begun = performance.now();
    daemon.kill('SIGINT');
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 5_000);
  });
});

describe('shutdown with an open proxied connection', () => {
  let mesh: SmallMesh;
  let socket: Socket;

  /** A captured pod with a connection to an echo server outside the mesh, on the tunnel path. */
  async function open(deadline: string): Promise<void> {
    mesh = await startSmallMesh({
      captured: true,
      environment: { KMESH_KERNEL_PATH: 'false', CONNECTION_TERMINATION_DEADLINE: deadline },
    });
    const far = await mesh.lab.outsideHost('far');
    await far.serve({ port: 7000, mode: 'echo' });
    socket = await mesh.client.connect({ host: far.addresses.v4, port: 7000 });
    socket.on('error', () => undefined);
    await echoed('before');
    const { total } = await mesh.daemon.json('/kmesh/connections?path=tunnel');
    assert.equal(total, 1, 'the proxy carries it');
  }
  afterEach(async () => {
    socket?.destroy();
    await mesh?.[Symbol.asyncDispose]();
  });

  async function echoed(text: string): Promise<void> {
    const answer = new Promise<string>((resolve, reject) => {
      socket.once('data', (bytes) => resolve(String(bytes)));
      socket.once('close', () => reject(new Error('closed')));
    });
    socket.write(text);
    assert.equal(await answer, text);
  }

  test('PRC-08: the process continues and data is forwarded until the client closes', async () => {
    await open('60s');
    mesh.daemon.kill('SIGTERM');
    await mesh.daemon.until('it drains', () => mesh.daemon.log().includes('draining'));
    await echoed('during the drain');
    const begun = performance.now();
    socket.destroy();
    assert.deepEqual(await mesh.daemon.ended, { code: 0, signal: null });
    const took = performance.now() - begun;
    assert.ok(took < 3_000, `ended ${took} ms after the client closed`);
  });

  test('PRC-09: at a short deadline the connection is closed and the process ends', async () => {
    await open('1s');
    const cut = ending(socket, 10_000);
    const begun = performance.now();
    mesh.daemon.kill('SIGTERM');
    assert.deepEqual(await mesh.daemon.ended, { code: 0, signal: null });
    const took = performance.now() - begun;
    assert.notEqual(await cut, 'open');
    assert.ok(took >= 900 && took < 5_000, `ended after ${took} ms`);
  });
});

/** Opens a request that is never finished, so that a drain must wait for it. */
async function holdDrain(daemon: DaemonProcess): Promise<void> {
  const socket = await host.connect({ host: '127.0.0.1', port: 15000 });
  socket.on('error', () => undefined);
  socket.write('POST /logging HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12');
  await daemon.until('the request arrived', async () => {
    using namespace = openNetworkNamespace(host.namespacePath);
    const sockets = await listTcpSockets(namespace, { states: [tcpState.established] });
    while (sockets.next()) if (sockets.localPort === 15000 && sockets.receiveQueue === 0) return true;
    return false;
  });
}

describe('readiness', () => {
  test('PRC-17: pending tasks before the first sync, ready after it, 405 and 404', async () => {
    const istiod = await startFakeIstiod();
    const stop = await relayInto(host, 15012, istiod.xdsAddress);
    istiod.faults.stall(true);
    try {
      await using daemon = start({
        environment: { ...istiodEnvironment(istiod), PROXY_MODE: 'dedicated' },
      });
      await daemon.listening();
      const before = await daemon.http('/healthz/ready', { port: 15021 });
      assert.deepEqual([before.status, before.body], [500, 'not ready, pending: proxy, state manager\n']);
      istiod.faults.stall(false);
      await daemon.ready();
      const after = await daemon.http('/healthz/ready', { port: 15021 });
      assert.equal(after.body, 'ready\n');
      assert.equal((await daemon.http('/healthz/ready', { port: 15021, method: 'POST' })).status, 405);
      assert.equal((await daemon.http('/healthz', { port: 15021 })).status, 404);
    } finally {
      await stop();
      await istiod.close();
    }
  });
});

test('PRC-18: it runs on a read-only root file system with only the temporary directory writable', async () => {
  // Makes every mount of a disk read-only in a separate mount namespace.
  const writable = mkdtempSync(join(tmpdir(), 'kmesh-writable-'));
  const readOnly =
    `mount --make-rprivate / && mount -t tmpfs tmpfs ${writable} && export TMPDIR=${writable} && ` +
    'awk \'$3 ~ /^(ext4|xfs|btrfs|overlay|virtiofs|9p|fuse.*)$/ || $2 == "/" { print $2 }\' /proc/self/mounts | ' +
    'while read -r at; do [ -d "$at" ] && mount -o remount,bind,ro "$at" || true; done; ' +
    `cd ${writable} && ` +
    '{ ! touch /kmesh-writable 2>/dev/null || echo "not read-only"; } && exec "$@"';
  using _ = { [Symbol.dispose]: () => rmSync(writable, { recursive: true }) };
  await using daemon = start({
    environment: { PATH: process.env['PATH'] ?? '' },
    through: `exec unshare --mount sh -c '${readOnly.replaceAll("'", "'\\''")}' sh "$@"`,
  });
  await daemon.ready();
  assert.doesNotMatch(daemon.log(), /not read-only/);
});

test('PRC-20: the soft limit of file descriptors is raised to the hard one', async () => {
  await using daemon = start({ through: 'ulimit -Sn 512 && ulimit -Hn 4096 && exec "$@"' });
  await daemon.ready();
  const limits = readFileSync(`/proc/${daemon.pid}/limits`, 'utf8');
  assert.match(limits, /Max open files\s+4096\s+4096/);
});

/** Returns the log's failed attempts to reach the control plane, one entry for each line. */
function failures(daemon: DaemonProcess): readonly string[] {
  return daemon
    .log()
    .split('\n')
    .filter((line) => line.includes('xDS connection failed'));
}

describe('settings that do not match the control plane', () => {
  let istiod: FakeIstiod;
  let stop: () => Promise<void>;

  before(async () => {
    istiod = await startFakeIstiod();
    stop = await relayInto(host, 15012, istiod.xdsAddress);
  });
  after(async () => {
    await stop();
    await istiod.close();
  });

  const stranger = createAuthority({ commonName: 'stranger' }).rootPem;
  for (const { name, environment, setting, cause } of [
    {
      name: 'a wrong token',
      environment: { AUTH_TOKEN: 'not-the-token' },
      setting: 'AUTH_TOKEN',
      cause: /UNAUTHENTICATED/,
    },
    {
      name: 'a token file that cannot be read',
      environment: { AUTH_TOKEN: './etc' },
      setting: 'AUTH_TOKEN',
      cause: /\.\/etc/,
    },
    {
      name: 'a wrong root',
      environment: { XDS_ROOT_CA: stranger },
      setting: 'XDS_ROOT_CA',
      cause: /self-signed|unable to|certificate/,
    },
    {
      name: 'a missing root file',
      environment: { XDS_ROOT_CA: '/nowhere/root-cert.pem' },
      setting: 'XDS_ROOT_CA',
      cause: /\/nowhere\/root-cert\.pem/,
    },
    {
      name: 'a wrong address',
      environment: { XDS_ADDRESS: 'https://127.0.0.1:9' },
      setting: 'XDS_ADDRESS',
      cause: /ECONNREFUSED/,
    },
    {
      name: 'a name that does not resolve',
      environment: { XDS_ADDRESS: 'istiod.nowhere.invalid:15012' },
      setting: 'XDS_ADDRESS',
      cause: /istiod\.nowhere\.invalid|ENOTFOUND|EAI_AGAIN/,
    },
  ]) {
    test(`${name} is one log line with setting, cause and next attempt; not ready; no crash`, async () => {
      await using daemon = start({
        files: { 'etc/placeholder': '' },
        environment: { ...istiodEnvironment(istiod), ...environment },
      });
      await daemon.until('the failure is logged', () => failures(daemon).length > 0);
      const [line = ''] = failures(daemon);
      assert.match(line, /\twarn\txds\t/);
      assert.match(line, new RegExp(`setting="${setting}"`));
      assert.match(line, /nextTryMs=\d+/);
      assert.match(/cause="(?<text>[^"]*)"/.exec(line)?.groups?.['text'] ?? '', cause);
      await daemon.listening();
      const ready = await daemon.http('/healthz/ready', { port: 15021 });
      assert.deepEqual([ready.status, ready.body], [500, 'not ready, pending: proxy, state manager\n']);
      const others = daemon
        .log()
        .split('\n')
        .filter((text) => /\t(warn|error)\t/.test(text) && !failures(daemon).includes(text));
      assert.deepEqual(others, [], 'no other warnings');
    });
  }
});

test('NEG-31: with the control plane unreachable the daemon starts, is not ready, retries, and recovers', async () => {
  const istiod = await startFakeIstiod();
  try {
    await using daemon = start({ environment: istiodEnvironment(istiod) });
    await daemon.until('it has tried three times', () => failures(daemon).length >= 3);
    const waits = failures(daemon).map((line) => Number(/nextTryMs=(\d+)/.exec(line)?.[1]));
    assert.ok(Math.max(...waits) > Math.min(...waits), `waits grow: ${waits.join(', ')}`);
    assert.equal((await daemon.http('/healthz/ready', { port: 15021 })).status, 500);
    const overview = await daemon.json('/kmesh/overview');
    assert.match(JSON.stringify(overview['controlPlane']), /ECONNREFUSED/);
    const stop = await relayInto(host, 15012, istiod.xdsAddress);
    try {
      await daemon.ready();
    } finally {
      await stop();
    }
  } finally {
    await istiod.close();
  }
});
