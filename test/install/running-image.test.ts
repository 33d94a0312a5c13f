import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type AccessLine, cgroupRoot, parseAccessLog, startFakeCniAgent } from '@kmesh/lab';
import { type AgentNode, type DaemonMesh, startDaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import {
  type ContainerRuntime,
  type NodePod,
  startContainerRuntime,
} from '@kmesh/lab/testing/install/container-runtime.ts';
import { type ChartValues, ztunnelDaemonSet } from '@kmesh/lab/testing/install/ztunnel-chart.ts';
import { parse } from 'yaml';

const root = fileURLToPath(new URL('../..', import.meta.url));
const archive = join(root, 'dist/kmesh-image.tar');
const image = 'docker.io/kmesh/kmesh:0.1.0';

let runtime: ContainerRuntime;
let mesh: DaemonMesh;
before(async () => {
  // The image of these sources; in a run of all tests release.test.ts has just built it.
  if (!isNewer(archive))
    for (const script of ['build-binary.ts', 'build-image.ts'])
      execFileSync(process.execPath, [join(root, 'scripts', script)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
  runtime = await startContainerRuntime();
  runtime.import(archive);
  mesh = await startDaemonMesh();
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
  await runtime[Symbol.asyncDispose]();
});

/** Returns whether a file is newer than all sources of an image. */
function isNewer(file: string): boolean {
  const time = (path: string): number => statSync(path).mtimeMs;
  const sources = [
    'package-lock.json',
    'bpf/*',
    'scripts/**',
    'packages/*/{src,package.json}',
    'packages/*/src/**',
  ];
  const built = ['build/*.node', 'build/bpf/*.o'];
  const newest = globSync([...sources, ...built], { cwd: root }).map((path) => time(join(root, path)));
  return existsSync(file) && time(file) > Math.max(...newest);
}

/** A node whose proxy is a container of the image, created as by the DaemonSet of these values. */
async function nodeWithContainer(
  name: string,
  values: ChartValues,
  {
    hostPaths = {},
    environment = {},
    beside,
  }: Partial<Pick<NodePod, 'hostPaths' | 'environment'>> & { readonly beside?: AgentNode } = {},
) {
  const { node, agent } = beside ?? (await emptyNode(name));
  const sockets = dirname(agent.path);
  const program = runtime.program(name, {
    daemonSet: ztunnelDaemonSet(values),
    files: {
      'istiod-ca-cert': { 'root-cert.pem': mesh.istiod.rootPem },
      'istio-token': { 'istio-token': mesh.istiod.token },
    },
    hostPaths: { '/var/run/ztunnel': sockets, ...hostPaths },
    fields: {
      'metadata.name': name,
      'metadata.namespace': 'istio-system',
      'spec.nodeName': node.name,
      'status.podIP': '10.0.0.1',
      'spec.serviceAccountName': 'ztunnel',
    },
    environment: { XDS_ADDRESS: '127.0.0.1:15012', CA_ADDRESS: '127.0.0.1:15012', ...environment },
  });
  const daemon = await mesh.daemon({ node, agent }, { executable: program });
  await daemon.ready();
  return { node, agent, daemon };
}

/** A node with an agent at the path that the DaemonSet mounts. */
async function emptyNode(name: string): Promise<AgentNode> {
  const sockets = `${await directoryOf()}/${name}`;
  mkdirSync(sockets, { recursive: true });
  return {
    node: await mesh.lab.node(),
    agent: startFakeCniAgent(mesh.lab, { path: `${sockets}/ztunnel.sock` }),
  };
}

async function directoryOf(): Promise<string> {
  const agent = startFakeCniAgent(mesh.lab);
  await agent.close();
  return dirname(agent.path);
}

type Place = Awaited<ReturnType<typeof nodeWithContainer>>;

async function captured(place: Place) {
  const pod = await mesh.pod(place.node);
  assert.equal(await place.agent.addPod(pod, { dns: false }), '');
  return pod;
}

async function lineOf(place: Place, direction: string): Promise<AccessLine> {
  let found: AccessLine | undefined;
  await place.daemon.until(`an access log line, ${direction}`, () => {
    found = parseAccessLog(place.daemon.log()).find(({ fields }) => fields['direction'] === direction);
    return found !== undefined;
  });
  assert.ok(found);
  return found;
}

test("IST-01, PRC-18: the image runs with the stock DaemonSet's settings, and carries traffic on the tunnel path", async () => {
  const places = [
    await nodeWithContainer('near', { image }),
    await nodeWithContainer('far', { image }),
  ] as const;
  const [client, server] = [await captured(places[0]), await captured(places[1])];
  await server.serve({ port: 8080 });
  // A node without the server's workload would forward its connections as to a destination outside the mesh.
  await mesh.istiod.waitForSettled(undefined, places.length);
  const report = await client.dial({ to: `${server.addresses.v4}:8080`, connections: 3 });
  assert.equal(report.failed, 0, JSON.stringify(report));
  const outbound = await lineOf(places[0], 'outbound');
  assert.match(String(outbound.fields['dst.hbone_addr']), /:8080/);
  assert.match(String((await lineOf(places[1], 'inbound')).fields['src.identity']), /sa\/sa-pod1/);
  const off = places[0].daemon
    .log()
    .split('\n')
    .filter((line) => line.includes('no kernel path'));
  assert.equal(off.length, 1, places[0].daemon.log());
  assert.match(off[0] ?? '', /cgroup/);
  // The process drops capabilities and system calls also under the runtime's own profile.
  assert.doesNotMatch(places[0].daemon.log(), /could not be dropped|stay allowed/);
});

test('the container exits with 0 within its grace period when the DaemonSet is rolled', async () => {
  const place = await nodeWithContainer('rolled', { image });
  place.daemon.kill('SIGTERM');
  assert.deepEqual(await place.daemon.ended, { code: 0, signal: null });
});

test('with the mounts of the profile the kernel path is on in the same image, and pods of the node are served', async () => {
  const chart = parse(
    readFileSync(join(root, 'istio-integration/values/ztunnel.yaml'), 'utf8'),
  ) as ChartValues;
  const hierarchy = cgroupRoot();
  const beside = await emptyNode('kernel');
  // In a cluster the node's namespace is that of process 1; in the lab it is another one.
  const node = join('/host/proc', basename(beside.node.namespacePath));
  const values = { ...chart, env: { ...chart.env, KMESH_NODE_NAMESPACE: node } };
  const place = await nodeWithContainer('kernel', values, {
    hostPaths: {
      '/sys/fs/cgroup': hierarchy,
      '/sys/fs/bpf': await mesh.lab.bpffs(),
      '/proc': dirname(beside.node.namespacePath),
    },
    // Only the pods of the lab.
    environment: {
      KMESH_CGROUP: join('/host/sys/fs/cgroup', relative(hierarchy, mesh.lab.cgroup)),
    },
    beside,
  });
  const [client, server] = [await captured(place), await captured(place)];
  await server.serve({ port: 8080 });
  assert.match(place.daemon.log(), /kernel path enabled/);
  assert.doesNotMatch(place.daemon.log(), /could not be dropped|stay allowed/);
  await place.daemon.until('the wire carries a connection', async () => {
    const report = await client.dial({ to: `${server.addresses.v4}:8080` });
    assert.equal(report.failed, 0, JSON.stringify(report));
    return parseAccessLog(place.daemon.log()).some(({ fields }) => fields['path'] === 'kernel');
  });
  const check = runtime.exec('kernel', 'kmeshctl', 'check');
  assert.match(check, /^ok +hook +programs of Kmesh +kmesh_connect4, kmesh_connect6/m);
  assert.match(check, /^ok +hook +the wire +delivers packets between 2 pods itself/m);
  assert.doesNotMatch(check, /no answer/);
});

test('IST-15, KME-18: rolled from one container to the next under load, no connection fails', async () => {
  const older = await nodeWithContainer('older', { image });
  const far = await nodeWithContainer('peer', { image });
  const [client, server] = [await captured(older), await captured(far)];
  await server.serve({ port: 8080 });
  const dialing = client.startDialing({ to: `${server.addresses.v4}:8080`, connections: 0 });
  // As with maxSurge 1: the newer is ready before the older gets SIGTERM.
  const younger = await nodeWithContainer('younger', { image }, { beside: older });
  older.daemon.kill('SIGTERM');
  assert.deepEqual(await older.daemon.ended, { code: 0, signal: null });
  const before = younger.daemon.log().length;
  await younger.daemon.until('the newer one carries connections', () =>
    younger.daemon.log().slice(before).includes('direction="outbound"'),
  );
  const report = await dialing.stop();
  assert.ok(report.connections > 10, JSON.stringify(report));
  assert.equal(report.failed, 0, JSON.stringify(report));
});
