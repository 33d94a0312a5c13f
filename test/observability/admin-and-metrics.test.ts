import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { commandOf, createLab, type Host, kmeshctlExecutable, type Lab, workloadOf } from '@kmesh/lab';
import { type DaemonProcess, startDaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';
import { type SmallMesh, startSmallMesh } from '@kmesh/lab/testing/daemon/small-mesh.ts';
import { wholeMesh } from '@kmesh/lab/testing/daemon/whole-mesh.ts';

type Dump = Record<string, unknown>;
type Item = Record<string, unknown>;

/** Requirement of contract 13 for a key: whether it must exist, and its type. */
type Shape = Readonly<Record<string, 'text' | 'number' | 'bool' | 'array' | 'object' | 'any'>>;

function assertShape(what: string, item: unknown, shape: Shape): void {
  assert.ok(typeof item === 'object' && item !== null, `${what} is an object`);
  for (const [key, kind] of Object.entries(shape)) {
    assert.ok(key in item, `${what} has ${key}`);
    const value: unknown = (item as Item)[key];
    const found: string = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
    const names: Record<string, string> = { text: 'string', bool: 'boolean' };
    if (kind !== 'any') assert.equal(found, names[kind] ?? kind, `${what}.${key}`);
  }
}

function named(list: unknown, name: string): Item {
  const found = (list as Item[]).find((item) => item['name'] === name);
  assert.ok(found, `${name} is listed`);
  return found;
}

const localMesh = `
workloads: [{ uid: local, name: local, namespace: files, workloadIps: [10.4.0.1], services: {} }]
services: [{ name: s, namespace: files, hostname: s.files, vips: [/10.96.4.1], ports: { 80: 80 } }]
policies: [{ name: p, namespace: files, scope: Namespace, action: Allow, rules: [], dryRun: false }]
`;

describe('config dump with one object of every kind', () => {
  let mesh: SmallMesh;
  let dump: Dump;
  let socket: Socket;
  const path = join(tmpdir(), `kmesh-local-${process.pid}.yaml`);
  const secrets = ['value-of-an-xds-header', 'value-of-a-ca-header'] as const;

  before(async () => {
    writeFileSync(path, localMesh);
    mesh = await startSmallMesh({
      environment: {
        LOCAL_XDS_PATH: path,
        XDS_HEADER_KEY: secrets[0],
        CA_HEADER_KEY: secrets[1],
        RUST_LOG: 'trace',
      },
      mesh: (node) => [
        ...wholeMesh,
        ...['zebra', 'ape'].map((name) => ({
          kind: 'workload' as const,
          workload: workloadOf(
            {
              uid: name,
              name,
              podNamespace: 'shop',
              serviceAccount: name,
              labels: {},
              node: node.name,
              addresses: { v4: name === 'ape' ? '10.1.0.70' : '10.1.0.71', v6: `fd00:7::${name.length}` },
            },
            { protocol: 'HBONE' },
          ),
        })),
      ],
    });
    socket = await mesh.client.connect({ host: mesh.serviceIp, port: 80 });
    await mesh.daemon.until('certificates and connection are there', async () => {
      dump = await mesh.daemon.json('/config_dump');
      const certificates = dump['certificates'] as Item[];
      const states = Object.values(dump['workloadState'] as Record<string, Item>);
      const open = states.some(
        ({ connections }) => ((connections as Item)['outbound'] as unknown[]).length > 0,
      );
      return open && certificates.filter(({ state }) => state === 'Available').length >= 2;
    });
  });
  after(async () => {
    socket?.destroy();
    await mesh?.[Symbol.asyncDispose]();
    rmSync(path, { force: true });
  });

  test('OBS-01: every top-level key exists, and lists are sorted', () => {
    assertShape('dump', dump, {
      workloads: 'array',
      services: 'array',
      policies: 'array',
      stagedServices: 'object',
      staticConfig: 'object',
      version: 'object',
      config: 'object',
      certificates: 'array',
      workloadState: 'object',
    });
    for (const [list, key] of [
      ['workloads', 'uid'],
      ['services', 'hostname'],
      ['certificates', 'identity'],
    ] as const) {
      const order = (dump[list] as Item[]).map((item) => String(item[key]));
      assert.ok(order.length >= 2, list);
      assert.deepEqual(order, [...order].sort(), list);
    }
  });

  test('OBS-01: a workload has every key of the contract', () => {
    const workload = named(dump['workloads'], 'everything');
    assertShape('workload', workload, {
      workloadIps: 'array',
      waypoint: 'object',
      networkGateway: 'object',
      protocol: 'text',
      networkMode: 'text',
      uid: 'text',
      name: 'text',
      namespace: 'text',
      trustDomain: 'text',
      serviceAccount: 'text',
      network: 'text',
      workloadName: 'text',
      canonicalName: 'text',
      canonicalRevision: 'text',
      hostname: 'text',
      node: 'text',
      workloadType: 'text',
      nativeTunnel: 'bool',
      applicationTunnel: 'object',
      authorizationPolicies: 'array',
      status: 'text',
      clusterId: 'text',
      locality: 'object',
      services: 'array',
      capacity: 'number',
    });
    assert.deepEqual(workload['waypoint'], { destination: '/10.3.0.9', hboneMtlsPort: 15008 });
    assert.deepEqual(workload['networkGateway'], {
      destination: 'edge/gateway.edge.example',
      hboneMtlsPort: 15009,
    });
    assert.deepEqual(workload['applicationTunnel'], { protocol: 'PROXY', port: 15088 });
    assert.deepEqual(workload['locality'], { region: 'r', zone: 'z', subzone: 's' });
  });

  test('OBS-01: a service has every key of the contract', () => {
    const service = named(dump['services'], 'all');
    assertShape('service', service, {
      name: 'text',
      namespace: 'text',
      hostname: 'text',
      vips: 'array',
      cidrVips: 'array',
      ports: 'object',
      endpoints: 'object',
      subjectAltNames: 'array',
      waypoint: 'object',
      weightedWaypoints: 'array',
      loadBalancer: 'object',
      ipFamilies: 'text',
      canonical: 'bool',
      visibility: 'text',
    });
    assert.deepEqual(service['vips'], ['/10.96.3.1', 'net1/fd00:96:3::1']);
    assert.deepEqual(service['cidrVips'], [{ network: '', cidr: '10.97.0.0/16' }]);
    assert.deepEqual(service['ports'], { 80: 8080, 443: 0 });
    const uid = 'Kubernetes//Pod/whole/everything';
    assert.deepEqual(service['endpoints'], {
      [uid]: { workloadUid: uid, port: { 80: 8080 }, status: 'Healthy' },
    });
    assert.deepEqual(service['loadBalancer'], {
      routingPreferences: ['Region', 'Zone'],
      mode: 'Failover',
      healthPolicy: 'AllowAll',
    });
    assert.deepEqual(dump['stagedServices'], {
      'ghost/nobody.example': { [uid]: { workloadUid: uid, port: { 90: 9090 }, status: 'Healthy' } },
    });
  });

  test('OBS-01: a policy has every match in the spelling of the contract', () => {
    const policy = named(dump['policies'], 'every-match');
    assertShape('policy', policy, {
      name: 'text',
      namespace: 'text',
      scope: 'text',
      action: 'text',
      rules: 'array',
      dryRun: 'bool',
    });
    assert.deepEqual(policy['rules'], [
      [
        [
          {
            namespaces: [{ Exact: 'a' }],
            notNamespaces: [{ Prefix: 'b' }],
            principals: [{ Suffix: 'c' }],
            notPrincipals: [{ Presence: [] }],
            serviceAccounts: [{ namespace: 'n', serviceAccount: 'one' }],
            notServiceAccounts: [{ namespace: 'n', serviceAccount: 'two' }],
            sourceIps: ['10.0.0.0/8'],
            notSourceIps: ['10.1.0.0/16'],
            destinationIps: ['fd00::/8'],
            notDestinationIps: ['fd01::/16'],
            destinationPorts: [80],
            notDestinationPorts: [81],
          },
        ],
      ],
    ]);
  });

  test('OBS-01: certificates have chain and roots, decimal serials and whole seconds', () => {
    for (const certificate of dump['certificates'] as Item[]) {
      assertShape('certificate', certificate, {
        identity: 'text',
        state: 'text',
        certChain: 'array',
        rootCerts: 'array',
      });
      if (certificate['state'] !== 'Available') continue;
      for (const entry of [
        ...(certificate['certChain'] as Item[]),
        ...(certificate['rootCerts'] as Item[]),
      ]) {
        assert.match(String(entry['serialNumber']), /^\d+$/);
        assert.match(String(entry['validFrom']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        assert.match(String(entry['expirationTime']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        const pem = Buffer.from(String(entry['pem']), 'base64').toString();
        assert.match(pem, /^-----BEGIN CERTIFICATE-----/);
        assert.doesNotMatch(pem, /PRIVATE KEY/);
      }
    }
  });

  test('OBS-01: workload state names each pod and its connections', () => {
    const states = dump['workloadState'] as Record<string, Item>;
    const client = states[mesh.client.uid];
    assertShape('state', client, { state: 'text', connections: 'object', info: 'object' });
    assert.deepEqual(client?.['info'], { name: 'client', namespace: 'shop', serviceAccount: 'default' });
    const connections = client?.['connections'] as Record<string, Item[]>;
    assert.deepEqual(connections['inbound'], []);
    const [outbound] = connections['outbound'] ?? [];
    assert.match(String(outbound?.['src']), new RegExp(`^${mesh.client.addresses.v4}:\\d+$`));
    assert.match(String(outbound?.['actualDst']), /^10\.1\.0\.[34]:8080$/);
    assert.equal(outbound?.['originalDst'], `${mesh.serviceIp}:80`);
    assert.equal(outbound?.['protocol'], 'TCP');
  });

  test('OBS-22: each table of istioctl ztunnel-config can be made from the dump as istioctl reads it', () => {
    const workloads = new Map((dump['workloads'] as Item[]).map((item) => [item['uid'], item]));
    const tables: Record<string, unknown[][]> = {
      // NAMESPACE, POD NAME, ADDRESS, NODE, PROTOCOL
      workload: [...workloads.values()].map((item) => [
        item['namespace'],
        item['name'],
        ...(item['workloadIps'] as string[]).slice(0, 1),
        item['protocol'],
      ]),
      // NAMESPACE, SERVICE NAME, SERVICE VIP, ENDPOINTS: healthy ones of all, by the uids of workloads
      service: (dump['services'] as Item[]).map((item) => {
        const endpoints = Object.values(item['endpoints'] as Record<string, Item>);
        const healthy = endpoints.filter(
          ({ workloadUid }) => workloads.get(workloadUid)?.['status'] === 'Healthy',
        );
        const [vip = '/'] = item['vips'] as string[];
        return [item['namespace'], item['name'], vip.split('/')[1], `${healthy.length}/${endpoints.length}`];
      }),
      policy: (dump['policies'] as Item[]).map((item) => [item['namespace'], item['name'], item['action']]),
      // CERTIFICATE NAME, STATUS, SERIAL NUMBER in hexadecimal, NOT AFTER
      certificate: (dump['certificates'] as Item[])
        .filter(({ state }) => state === 'Available')
        .map((item) => {
          const [leaf] = item['certChain'] as Item[];
          const serial = BigInt(String(leaf?.['serialNumber'])).toString(16);
          return [item['identity'], serial, new Date(String(leaf?.['expirationTime'])).toISOString()];
        }),
      connections: Object.values(dump['workloadState'] as Record<string, Item>).flatMap((state) => {
        const connections = (state['connections'] ?? {}) as Record<string, Item[]>;
        return ['inbound', 'outbound'].flatMap((direction) =>
          (connections[direction] ?? []).map((item) => [direction, item['src'], item['actualDst']]),
        );
      }),
    };
    for (const [table, rows] of Object.entries(tables)) {
      assert.ok(rows.length > 0, `${table} is empty`);
      for (const row of rows) for (const cell of row) assert.match(`${cell}`, /^(?!undefined|null)/, table);
    }
    assert.deepEqual(
      tables['service']?.find(([namespace, name]) => namespace === 'shop' && name === 'web')?.[3],
      '2/2',
    );
  });

  for (const command of ['workloads', 'services', 'policies', 'certificates', 'connections', 'log']) {
    test(`OBS-22: kmeshctl ${command} -o json is not empty and parses`, async () => {
      const [program, args] = commandOf(kmeshctlExecutable, command, '-o', 'json');
      const { stdout, stderr, code } = await mesh.node.run(program, args, { check: false });
      assert.equal(code, 0, stderr);
      assert.ok(Object.values(JSON.parse(stdout) as object).length > 0, stdout);
    });
  }

  test('OBS-01: a pod that cannot be served yet is pending and has no connections', async () => {
    const pod = await mesh.node.pod({ name: 'late', namespace: 'shop', serviceAccount: 'late' });
    await pod.listen({ port: 15008 }, (taken) => taken.destroy());
    assert.match(await mesh.agent.addPod(pod), /15008/);
    const states = (await mesh.daemon.json('/config_dump'))['workloadState'] as Record<string, Item>;
    assert.deepEqual(states[pod.uid], {
      state: 'Pending',
      info: { name: 'late', namespace: 'shop', serviceAccount: 'late' },
    });
    const { pods } = (await mesh.daemon.json('/kmesh/overview')) as unknown as { pods: Item[] };
    assert.equal(named(pods, 'late')['state'], 'Pending');
  });

  test('OBS-01: version, configuration and local file are complete, and neither the dump nor the log has secrets', () => {
    for (const key of [
      ...['version', 'gitRevision', 'rustVersion', 'buildProfile', 'buildStatus', 'istioVersion'],
      'cryptoProvider',
    ]) {
      assert.equal(typeof (dump['version'] as Item)[key], 'string', key);
    }
    const config = dump['config'] as Item;
    for (const key of configKeys) assert.ok(key in config, `config.${key}`);
    for (const text of [JSON.stringify(dump), mesh.daemon.log()]) {
      for (const secret of [mesh.istiod.token, ...secrets]) assert.ok(!text.includes(secret), secret);
      assert.doesNotMatch(text, /PRIVATE KEY/);
    }
    assert.deepEqual([config['xdsHeaders'], config['caHeaders']], [['key'], ['key']]);
    assert.equal(config['xdsRootCert'], 'inline');
    const local = dump['staticConfig'] as Record<string, Item[]>;
    for (const [list, name] of [
      ['workloads', 'local'],
      ['services', 's'],
      ['policies', 'p'],
    ] as const) {
      assert.deepEqual(
        local[list]?.map((item) => item['name']),
        [name],
      );
    }
  });
});

const configKeys = (
  'proxy dnsProxy windowSize connectionWindowSize frameSize poolMaxStreamsPerConn poolUnusedReleaseTimeout ' +
  'socks5Addr adminAddr statsAddr readinessAddr inboundAddr inboundPlaintextAddr outboundAddr dnsProxyAddr ' +
  'illegalPorts network localNode proxyMode proxyWorkloadInformation clusterId clusterDomain caAddress ' +
  'caRootCert altCaHostname xdsAddress xdsRootCert altXdsHostname preferedServiceNamespace secretTtl ' +
  'xdsOnDemand fakeCa fakeSelfInbound selfTerminationDeadline proxyMetadata numWorkerThreads ' +
  'requireOriginalSource proxyArgs dnsResolverCfg dnsResolverOpts inpodUds inpodPortReuse packetMark ' +
  'socketConfig xdsHeaders caHeaders localhostAppTunnel ztunnelIdentity ztunnelWorkload ipv6Enabled crlPath ' +
  'enableEnhancedBaggage'
).split(' ');

describe('an empty process', () => {
  let lab: Lab;
  let node: Host;
  let other: Host;
  let daemon: DaemonProcess;

  before(async () => {
    lab = await createLab();
    node = await lab.outsideHost('node');
    other = await lab.outsideHost('other');
    daemon = startDaemonProcess({
      host: node,
      environment: {
        XDS_ADDRESS: '',
        PROXY_MODE: 'dedicated',
        PROXY_WORKLOAD_INFO: 'default/app/default',
        ISTIO_META_ISTIO_VERSION: '1.30.1',
      },
    });
    await daemon.ready();
  });
  after(async () => {
    await daemon[Symbol.asyncDispose]();
    await lab.close();
  });

  const post = (path: string) => daemon.http(path, { method: 'POST' });

  test('OBS-02: lists of an empty process are empty, not missing', async () => {
    const dump = await daemon.json('/config_dump');
    for (const key of ['workloads', 'services', 'policies', 'certificates'])
      assert.deepEqual(dump[key], [], key);
    assert.deepEqual(dump['stagedServices'], {});
    assert.deepEqual(dump['staticConfig'], { workloads: [], policies: [], services: [], routes: [] });
    assert.ok(!('workloadState' in dump), 'dedicated mode has none');
  });

  for (const { query, status, level } of [
    { query: '', status: 200, level: 'info' },
    // The request by which istioctl sets the level.
    { query: '?level=', status: 200, level: 'info' },
    { query: '?level=debug', status: 200, level: 'debug' },
    { query: '?level=access=debug,info', status: 200, level: 'info,access=debug' },
    { query: '?level=access:debug', status: 200, level: 'info,access=debug' },
    { query: '?level=foo', status: 400, level: 'info' },
    { query: '?reset', status: 200, level: 'info' },
    { query: '?level=info&reset', status: 200, level: 'info' },
  ]) {
    test(`OBS-03: POST /logging${query} answers ${status}, and the filter is then ${level}`, async () => {
      await post('/logging?reset');
      assert.equal((await post(`/logging${query}`)).status, status);
      assert.equal((await post('/logging')).body, `current log level is ${level}\n`);
    });
  }

  test('OBS-03: GET /logging answers 405 with the usage', async () => {
    const answer = await daemon.http('/logging');
    assert.equal(answer.status, 405);
    assert.match(answer.body, /usage: POST \/logging/);
  });

  test('OBS-04: connections of another host to the admin port are refused, on every address', async () => {
    for (const host of [node.addresses.v4, node.addresses.v6]) {
      await assert.rejects(other.connect({ host, port: 15000 }), { code: 'ECONNREFUSED' });
    }
    const metrics = await other.http({ host: node.addresses.v4, port: 15020, path: '/metrics' });
    assert.equal(metrics.status, 200, 'metrics are for everyone');
  });

  test('a page of another site cannot use the admin port through a browser', async () => {
    const answer = await daemon.http('/quitquitquit', {
      method: 'POST',
      headers: { origin: 'https://elsewhere.example' },
    });
    assert.equal(answer.status, 403);
    await daemon.ready();
  });

  for (const query of ['seconds=0', 'seconds=301', 'frequency=0', 'frequency=1001', 'seconds=x']) {
    test(`OBS-05: a profile with ${query} answers 400 and says what is allowed`, async () => {
      const answer = await daemon.http(`/debug/pprof/profile?${query}`);
      assert.equal(answer.status, 400);
      assert.match(answer.body, /is not allowed: 1 to \d+ is/);
    });
  }

  test('OBS-05: heap profiles answer 500 while inactive, 400 for a wrong switch', async () => {
    assert.equal((await daemon.http('/debug/pprof/heap')).status, 500);
    assert.equal((await daemon.http('/debug/pprof/heap/profiling?activate=maybe')).status, 400);
    assert.equal(
      (await daemon.http('/debug/pprof/heap/profiling?activate=true')).status,
      400,
      'a GET changes nothing',
    );
    assert.equal((await daemon.http('/debug/pprof/heap')).status, 500);
    assert.match((await post('/debug/pprof/heap/profiling?activate=true')).body, /is active/);
    assert.equal((await daemon.http('/debug/pprof/heap')).status, 200);
    assert.equal((await daemon.http('/debug/pprof/heap?gc=1')).status, 200);
    assert.equal((await daemon.http('/debug/pprof/heap?gc=yes')).status, 400);
    assert.match((await post('/debug/pprof/heap/profiling?activate=false')).body, /is inactive/);
  });

  test('every thread of the daemon has only the capabilities of docs/security.md, no_new_privs and a seccomp filter', () => {
    const page = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
    const kept = [...page.matchAll(/^\| `CAP_\w+` \((\d+)\)/gm)].map(([, bit]) => Number(bit));
    assert.equal(kept.length, 8);
    const allowed = kept.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
    const threads = readdirSync(`/proc/${daemon.pid}/task`);
    assert.ok(threads.length > 4);
    for (const thread of threads) {
      const status = readFileSync(`/proc/${daemon.pid}/task/${thread}/status`, 'utf8');
      for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb']) {
        const mask = BigInt(`0x${new RegExp(`^${set}:\\s*(\\w+)`, 'm').exec(status)?.[1]}`);
        assert.equal(mask & ~allowed, 0n, `${set} of thread ${thread}`);
      }
      assert.match(status, /^NoNewPrivs:\s*1$/m);
      assert.match(status, /^Seccomp:\s*2$/m, `seccomp of thread ${thread}`);
    }
  });

  test('the control thread has the shortest time slice, and the scrape thread has not', async () => {
    const sliceOf = (name: string): number | undefined => {
      for (const thread of readdirSync(`/proc/${daemon.pid}/task`)) {
        const of = `/proc/${daemon.pid}/task/${thread}`;
        if (readFileSync(`${of}/comm`, 'utf8').trim() === name)
          return Number(/^se\.slice\s*:\s*(\d+)$/m.exec(readFileSync(`${of}/sched`, 'utf8'))?.[1]);
      }
      return undefined;
    };
    const main = readFileSync(`/proc/${daemon.pid}/comm`, 'utf8').trim();
    await daemon.until('the start is over', () => sliceOf(main) === 100_000);
    assert.ok((sliceOf('kmesh-scrape') ?? 0) > 1_000_000, `${sliceOf('kmesh-scrape')}`);
  });

  test('SIGUSR1 does not open the inspector of Node.js', async () => {
    const marker = 'SIGUSR1 has no effect';
    process.kill(daemon.pid, 'SIGUSR1');
    await daemon.until('the signal was handled', () => daemon.log().includes(marker));
    await assert.rejects(node.connect({ host: '127.0.0.1', port: 9229 }), { code: 'ECONNREFUSED' });
  });

  test('OBS-06: metrics at the start have build and process gauges, and "unstable" in every other help', async () => {
    const { body } = await daemon.http('/metrics', { port: 15020 });
    assert.match(body, /^istio_build\{component="ztunnel",tag="1\.30\.1"\} 1$/m);
    for (const name of ['process_resident_memory_bytes', 'process_open_fds', 'process_start_time_seconds']) {
      const value = Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(body)?.[1]);
      assert.ok(value > 0, `${name} is ${value}`);
    }
    for (const [, name = '', help = ''] of body.matchAll(/^# HELP (\S+) (.*)$/gm)) {
      if (/^(istio_tcp_|istio_build|process_|kmesh_)/.test(name)) continue;
      assert.match(help, /unstable/, name);
    }
  });

  test('OBS-14: a client that accepts OpenMetrics gets it, with its EOF marker', async () => {
    const answer = await daemon.http('/metrics', {
      port: 15020,
      headers: { accept: 'application/openmetrics-text; version=1.0.0' },
    });
    assert.match(String(answer.headers['content-type']), /^application\/openmetrics-text/);
    assert.ok(answer.body.endsWith('# EOF\n'));
    const plain = await daemon.http('/stats/prometheus', { port: 15020 });
    assert.match(String(plain.headers['content-type']), /^text\/plain/);
  });

  test('OBS-15: /foo on 15020 answers 404', async () => {
    assert.equal((await daemon.http('/foo', { port: 15020 })).status, 404);
  });
});
