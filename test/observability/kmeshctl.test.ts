import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type CommandResult, commandOf, kmeshctlExecutable, runCommand, workloadOf } from '@kmesh/lab';
import { type SmallMesh, startSmallMesh } from '@kmesh/lab/testing/daemon/small-mesh.ts';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';

let mesh: SmallMesh;
before(async () => {
  mesh = await startSmallMesh({
    mesh: () => [
      {
        kind: 'workload',
        workload: workloadOf(remote, {
          protocol: 'HBONE',
          authorizationPolicies: ['shop/only-web'],
        }),
      },
      {
        kind: 'policy',
        policy: {
          name: 'only-web',
          namespace: 'shop',
          scope: 'WorkloadSelector',
          action: 'Allow',
          rules: [[[{ principals: [{ kind: 'Exact', value: 'cluster.local/ns/shop/sa/web' }] }]]],
          dryRun: false,
        },
      },
    ],
  });
});
after(() => mesh[Symbol.asyncDispose]());

/** A captured pod on another node. */
const remote = {
  uid: 'remote',
  name: 'bank',
  podNamespace: 'shop',
  serviceAccount: 'bank',
  labels: {},
  node: 'node2',
  addresses: { v4: '10.2.0.9', v6: 'fd00:10:2::9' },
};

const command = (...args: string[]) => commandOf(kmeshctlExecutable, ...args);

/** Runs kmeshctl on the daemon's node; a failure is returned. */
function kmeshctl(...args: string[]): Promise<CommandResult> {
  return mesh.node.run(...command(...args), { check: false });
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr, code } = await kmeshctl(...args, '-o', 'json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe('connections', () => {
  let socket: Socket;
  before(async () => {
    socket = await mesh.client.connect({ host: mesh.serviceIp, port: 80 });
    socket.resume();
    socket.write('hello');
  });
  after(() => socket.destroy());

  test('an open connection is listed once, with its service and path, until it closes', async () => {
    await mesh.daemon.until('the connection is listed', async () => {
      const { total } = await mesh.daemon.json('/kmesh/connections');
      return total === 1;
    });
    const { stdout } = await kmeshctl('connections', 'web');
    const lines = stdout.trim().split('\n');
    assert.equal(lines.length, 2, stdout);
    assert.match(lines[1] ?? '', /^shop\/client +shop\/web-[12] +shop\/web +kernel +no +\d+s/);
    assert.match((await kmeshctl('connections', '--path', 'tunnel')).stdout, /No open connection matches/);
    const overview = await mesh.daemon.json('/kmesh/overview');
    const pods = overview['pods'] as { name: string; connections: number }[];
    assert.equal(pods.find(({ name }) => name === 'client')?.connections, 1);
    assert.equal((overview['services'] as { opened: number }[])[0]?.opened, 1);
    socket.destroy();
    await mesh.daemon.until('the end is shown', async () => {
      const { total } = await mesh.daemon.json('/kmesh/connections');
      return total === 0;
    });
  });

  test('a failed connection counts for its service', async () => {
    await Promise.all(mesh.servers.map((server) => server.close()));
    try {
      await assert.rejects(mesh.client.connect({ host: mesh.serviceIp, port: 80 }));
      await mesh.daemon.until('the failure is counted', async () => {
        const { services } = (await mesh.daemon.json('/kmesh/overview')) as {
          services: { failed: number }[];
        };
        return services[0]?.failed === 1;
      });
    } finally {
      await mesh.serve();
    }
  });

  test('--watch runs until it is interrupted, and then exits with 0', async () => {
    const child = mesh.node.spawn(...command('connections', '-w', '--interval', '0.1'));
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      if (text.split('No open connection').length === 4) child.kill('SIGINT');
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 0);
  });
});

describe('why', () => {
  for (const { name, args, code, says } of [
    {
      name: 'a service is followed to an endpoint on the kernel path',
      args: ['shop/client', 'shop/web'],
      code: 0,
      says: [
        /allowed, path kernel/,
        /address +shop\/web is service shop\/web\.shop\.svc\.cluster\.local at 10\.96\.0\.1/,
        /service +shop\/web\.\S+: ports 80→8080; balancing Standard/,
        /2 may be drawn: shop\/web-1:8080 50 %, shop\/web-2:8080 50 %/,
        /waypoint +none/,
        /policy +none: shop\/web-\d takes plain TCP/,
        /path +50 %: kernel to shop\/web-\d at \S+:8080: balanced in the connect call/,
      ],
    },
    {
      name: 'the policies of a captured workload are evaluated, and a denial is exit code 3',
      args: ['shop/client', 'shop/bank:443'],
      code: 3,
      says: [
        /denied, path tunnel/,
        /policy +at shop\/bank: not allowed: ALLOW policies apply .* \(considered: shop\/only-web\)/,
        /path +tunnel to shop\/bank at 10\.2\.0\.9:15008: the kernel tables leave this address to it/,
      ],
    },
    {
      name: 'another identity is allowed by the same policy',
      args: ['shop/web-1', '10.2.0.9:443'],
      code: 0,
      says: [/allowed, path tunnel/, /allowed by policy shop\/only-web/],
    },
    {
      name: 'an undeclared port is refused in the kernel',
      args: ['10.1.0.2', 'web.shop:81'],
      code: 3,
      says: [/refused/, /has no port 81/, /path +refused in the kernel/],
    },
    {
      name: 'a connection to an address outside the mesh is not changed',
      args: ['shop/client', '203.0.113.9:443'],
      code: 0,
      says: [/allowed, path kernel/, /not known to the mesh/],
    },
    {
      name: 'an unknown source is an error that says what is allowed',
      args: ['nobody', 'shop/web'],
      code: 1,
      says: [/the source "nobody" is neither namespace\/name of a pod nor an IP/],
    },
    {
      name: 'an invalid port is an error',
      args: ['shop/client', '[fd00::1]:http'],
      code: 1,
      says: [/"http" is not a port: 1 to 65535 is allowed/],
    },
    {
      name: 'a missing argument is a usage error',
      args: ['shop/client'],
      code: 2,
      says: [/kmeshctl --help/],
    },
  ]) {
    test(name, async () => {
      const result = await kmeshctl('why', ...args);
      const text = result.stdout + result.stderr;
      assert.equal(result.code, code, text);
      for (const pattern of says) assert.match(text, pattern);
    });
  }
});

test('tables show the usage of the kernel tables, and the entries of an address', async () => {
  const { usage } = await json('tables');
  assert.equal((usage as { table: string; used: number }[]).find(({ table }) => table === 'pods')?.used, 3);
  const { stdout } = await kmeshctl('tables', mesh.serviceIp);
  assert.match(stdout, /80 +every namespace +balance +shop\/web\.shop\.svc\.cluster\.local/);
  assert.match(stdout, /any other +every namespace +refuse/);
  assert.match((await kmeshctl('tables', '203.0.113.9')).stdout, /has no entry for 203\.0\.113\.9/);
});

test('check lists the programs of Kmesh and of other software in the order in which they run', async () => {
  using object = await loadEmptyProgram();
  using _link = object.program('empty_connect4').attachCgroup(mesh.lab.cgroup);
  const report = (await json('check', '--cgroup', mesh.lab.cgroup)) as unknown as {
    rows: { area: string; name: string; state: string; detail: string }[];
    programs: { hook: string; name: string; owner: string; remark: string }[];
  };
  const connect4 = report.programs.filter(({ hook }) => hook === 'connect4');
  assert.deepEqual(
    connect4.map(({ name, owner }) => [name, owner]),
    [
      ['kmesh_connect4', 'Kmesh'],
      ['empty_connect4', 'other'],
    ],
  );
  assert.match(connect4[1]?.remark ?? '', /may change the dialled address/);
  const daemon = report.rows.find(({ area }) => area === 'daemon');
  assert.equal(daemon?.state, 'ok', JSON.stringify(daemon));
  const wire = report.rows.find(({ name }) => name === 'the wire');
  assert.deepEqual(
    [wire?.state, wire?.detail],
    ['ok', 'delivers packets between 3 pods itself'],
    JSON.stringify(report.rows),
  );
});

test('log changes and resets the level of the running daemon', async () => {
  assert.equal((await kmeshctl('log', 'access=debug')).stdout, 'info,access=debug\n');
  assert.equal((await kmeshctl('log', '--reset')).stdout, 'info\n');
  const wrong = await kmeshctl('log', 'loud');
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /"loud" is neither a level/);
});

test('metrics come from the metrics port', async () => {
  const series = (await json('metrics', 'istio_tcp_connections_opened_total')) as unknown as {
    labels: Record<string, string>;
  }[];
  assert.ok(
    series.some(({ labels }) => labels['destination_service_name'] === 'web'),
    JSON.stringify(series),
  );
});

test('workloads, services and policies of the mesh are listed', async () => {
  assert.match((await kmeshctl('workloads')).stdout, /shop +bank +10\.2\.0\.9,fd00:10:2::9 +node2 +HBONE/);
  assert.match((await kmeshctl('services')).stdout, /shop +web +10\.96\.0\.1,fd00:96::1 +80→8080 +2\/2/);
  assert.match((await kmeshctl('policies')).stdout, /shop +only-web +Allow +WorkloadSelector +1/);
});

test('the completion script is printed, and completes commands', async () => {
  const { stdout } = await runCommand(...command('completion'));
  assert.match(stdout, /kmeshctl/);
  const words = await runCommand(...command('--get-yargs-completions', 'kmeshctl', 'con'));
  assert.match(words.stdout, /connections/);
});
