import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  connectFrom,
  createLab,
  keyOf,
  type Lab,
  type LabMesh,
  type MeshPod,
  openHbone,
  serviceOf,
  startMesh,
} from '@kmesh/lab';

interface Connection {
  readonly src: string;
  readonly originalDst: string | null;
  readonly actualDst: string;
  readonly protocol: string;
}

interface PodState {
  readonly info: { readonly name: string };
  readonly connections?: Readonly<Record<'inbound' | 'outbound', readonly Connection[]>>;
}

let lab: Lab;
let mesh: LabMesh;
let client: MeshPod;
let server: MeshPod;
const service = serviceOf({
  name: 'web',
  vips: { v4: '10.96.7.1', v6: 'fd00:96::7:1' },
  ports: { 80: 8080 },
});

before(async () => {
  lab = await createLab();
  for (let count = 0; count < 2; count++) await lab.node();
  mesh = await startMesh(lab, { kernelPath: false });
  await mesh.apply(service);
  client = await mesh.pod({ name: 'client' });
  server = await mesh.pod({ name: 'server', workload: { services: { [keyOf(service)]: {} } } }, 1);
  await server.pod.serve({ port: 8080, mode: 'echo' });
});

after(async () => {
  await mesh.close();
  await lab.close();
});

/** Waits for the one connection of a pod in a direction. */
async function connectionOf(of: MeshPod, direction: 'inbound' | 'outbound'): Promise<Connection> {
  const proxy = mesh.proxyOf(of.pod);
  let found: readonly Connection[] = [];
  await proxy.until(`one ${direction} connection of ${of.pod.name}`, async () => {
    const states = Object.values((await proxy.configDump())['workloadState'] as Record<string, PodState>);
    found = states.find(({ info }) => info.name === of.pod.name)?.connections?.[direction] ?? [];
    return found.length === 1;
  });
  return found[0] as Connection;
}

async function noConnections(): Promise<void> {
  const proxy = mesh.proxyOf(server.pod);
  await proxy.until('the last connection is gone', async () => {
    const states = Object.values((await proxy.configDump())['workloadState'] as Record<string, PodState>);
    return states.every(({ connections }) => (connections?.inbound.length ?? 0) === 0);
  });
}

for (const addressed of ['service', 'pod'] as const) {
  test(`a connection to a ${addressed} shows the dialled address and the next hop on both sides, as in ztunnel`, async () => {
    const [from, to] = [client.pod.addresses.v4, server.pod.addresses.v4];
    const dialled = addressed === 'service' ? { host: '10.96.7.1', port: 80 } : { host: to, port: 8080 };
    const socket = await client.pod.connect(dialled);
    const outbound = await connectionOf(client, 'outbound');
    const inbound = await connectionOf(server, 'inbound');
    assert.match(outbound.src, new RegExp(`^${from}:\\d+$`));
    assert.deepEqual(
      { ...outbound, src: '' },
      {
        src: '',
        originalDst: `${dialled.host}:${dialled.port}`,
        actualDst: `${to}:15008`,
        protocol: 'HBONE',
      },
    );
    assert.match(inbound.src, new RegExp(`^${from}:\\d+$`));
    assert.deepEqual(
      { ...inbound, src: '' },
      {
        src: '',
        originalDst: addressed === 'service' ? service.hostname : null,
        actualDst: `${to}:8080`,
        protocol: 'HBONE',
      },
    );
    socket.destroy();
    await noConnections();
  });
}

test('inbound HBONE shows only the service in forwarded as addressed, not one with a matching port', async () => {
  const stranger = await lab.outsideHost();
  const to = server.pod.addresses.v4;
  const hbone = await openHbone(await connectFrom(stranger, { host: to, port: 15008 }), {
    identity: mesh.identity('spiffe://cluster.local/ns/default/sa/stranger'),
  });
  await hbone.ready();
  const { stream } = await hbone.request(`${to}:8080`);
  const { originalDst, actualDst, protocol } = await connectionOf(server, 'inbound');
  assert.deepEqual(
    { originalDst, actualDst, protocol },
    { originalDst: null, actualDst: `${to}:8080`, protocol: 'HBONE' },
  );
  stream.close();
  hbone.close();
  await noConnections();
});

test('an inbound plaintext connection is shown with the dialled port', async () => {
  const stranger = await lab.outsideHost();
  const to = server.pod.addresses.v4;
  const socket = await stranger.connect({ host: to, port: 8080 });
  const { originalDst, actualDst, protocol } = await connectionOf(server, 'inbound');
  assert.deepEqual(
    { originalDst, actualDst, protocol },
    { originalDst: null, actualDst: `${to}:8080`, protocol: 'TCP' },
  );
  socket.destroy();
  await noConnections();
});
