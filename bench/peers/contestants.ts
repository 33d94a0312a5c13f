/** Configurations between a client and a server: no mesh, Kmesh, a ztunnel, sidecars; on one node and on two. */
import { createLab, keyOf, type Lab, type Node, type Pod, serviceOf, startMesh } from '@kmesh/lab';
import { asInstalled } from '../harness/as-installed.ts';
import { passesBridge } from '../harness/passes-bridge.ts';
import { BULK_PORT, HTTP_PORT, SHORT_PORT, startIperf, startNginx } from '../harness/programs.ts';
import type { EnvoyVariant } from './envoy-config.ts';
import type { EnvoyProgram } from './envoy-program.ts';
import { startEnvoyPair, startHaproxyPair } from './sidecars.ts';

export const NO_MESH = 'no mesh';
export const KMESH = 'kmesh';
export const KMESH_TUNNEL = 'kmesh, tunnel only';
export const ENVOY_TCP = 'Envoy pair, TCP proxy';
export const ENVOY_HTTP = 'Envoy pair, HTTP';
export const HAPROXY = 'HAProxy pair';
export const ZTUNNEL = 'ztunnel';

/** One data path from a client to a server. */
export interface Contestant {
  readonly name: string;
  /** Parent of both nodes' cgroups: contains the client, the server and everything between them. */
  readonly cgroup: string;
  readonly client: Pod;
  readonly server: Pod;
  /** Address that the client dials: the server's or its service's. */
  readonly to: string;
}

interface Setting {
  readonly stack: AsyncDisposableStack;
  readonly lab: Lab;
  /** The client's and the server's, which may be the same. */
  readonly nodes: readonly [Node, Node];
}

const PORTS = { [HTTP_PORT]: HTTP_PORT, [SHORT_PORT]: SHORT_PORT, [BULK_PORT]: BULK_PORT };

/** Starts the contestant of this name; it ends with the stack. */
export async function startContestant(
  stack: AsyncDisposableStack,
  name: string,
  options: { readonly nodes: 1 | 2; readonly envoy?: EnvoyProgram },
): Promise<Contestant> {
  const lab = stack.use(await createLab());
  const near = await lab.node();
  const setting: Setting = { stack, lab, nodes: [near, options.nodes === 2 ? await lab.node() : near] };
  const made = await start(setting, name, options.envoy);
  return { ...made, name, cgroup: lab.cgroup };
}

type Made = Pick<Contestant, 'client' | 'server' | 'to'>;

function start(setting: Setting, name: string, envoy: EnvoyProgram | undefined): Promise<Made> {
  switch (name) {
    case NO_MESH:
      return withoutMesh(setting);
    case KMESH:
      return throughNodeProxy(setting, { kernelPath: true });
    case KMESH_TUNNEL:
      return throughNodeProxy(setting, { kernelPath: false });
    case ZTUNNEL:
      return throughNodeProxy(setting, { kernelPath: false, executable: process.env['ZTUNNEL_BIN'] ?? '' });
    case HAPROXY:
      return throughSidecars(setting, 'haproxy');
    case ENVOY_TCP:
    case ENVOY_HTTP:
      if (envoy === undefined) throw new Error(`${name} needs Envoy`);
      return throughSidecars(setting, { variant: name === ENVOY_TCP ? 'tcp' : 'http', program: envoy });
    default:
      throw new Error(`"${name}" is no contestant`);
  }
}

async function withoutMesh(setting: Setting): Promise<Made> {
  const { client, server } = await pods(setting);
  return { client, server, to: server.addresses.v4 };
}

async function throughSidecars(
  setting: Setting,
  kind: 'haproxy' | { readonly variant: EnvoyVariant; readonly program: EnvoyProgram },
): Promise<Made> {
  const { stack, lab } = setting;
  const { client, server } = await pods(setting);
  const vip = lab.serviceAddress().v4;
  const pair = {
    ...{ client, server, vip, hostname: 'shop.default.svc.cluster.local' },
    ...{ httpPorts: [HTTP_PORT, SHORT_PORT], tcpPorts: [BULK_PORT] },
  };
  if (kind === 'haproxy') {
    await startHaproxyPair(stack, pair);
    return { client, server, to: server.addresses.v4 };
  }
  await startEnvoyPair(stack, pair, kind);
  return { client, server, to: vip };
}

async function throughNodeProxy(
  { stack, lab, nodes }: Setting,
  options: { readonly kernelPath: boolean; readonly executable?: string },
): Promise<Made> {
  const environment = await asInstalled(lab);
  const mesh = stack.use(await startMesh(lab, { ...options, environment, discardsOutput: true }));
  const vips = lab.serviceAddress();
  const service = serviceOf({ name: 'shop', vips, ports: PORTS });
  await mesh.apply(service);
  const { pod: client } = await mesh.pod({ name: 'client' });
  const workload = { services: { [keyOf(service)]: {} } };
  const { pod: server } = await mesh.pod({ name: 'server', workload }, nodes[0] === nodes[1] ? 0 : 1);
  serve(stack, server);
  if (options.kernelPath && nodes[0] === nodes[1]) {
    const to = `${vips.v4}:${HTTP_PORT}`;
    await passesBridge(mesh, client, { to, mode: 'http', connections: 10, requests: 20 });
  }
  return { client, server, to: vips.v4 };
}

async function pods({ stack, nodes }: Setting): Promise<{ readonly client: Pod; readonly server: Pod }> {
  const client = await nodes[0].pod({ name: 'client', serviceAccount: 'sa-client' });
  const server = await nodes[1].pod({ name: 'server', serviceAccount: 'sa-server' });
  serve(stack, server);
  return { client, server };
}

function serve(stack: AsyncDisposableStack, server: Pod): void {
  startNginx(server, stack);
  startIperf(server);
}
