/** Sidecar pairs: a proxy in the client's pod and one in the server's, each as a separate user behind Istio's rules. */
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, type Pod } from '@kmesh/lab';
import { type EnvoyVariant, inboundSidecar, outboundSidecar, type SidecarIdentity } from './envoy-config.ts';
import type { EnvoyProgram } from './envoy-program.ts';
import { captureForSidecar, SIDECAR_UID } from './sidecar-rules.ts';

/** Workers of a sidecar: Istio's default. */
const WORKERS = Math.min(2, availableParallelism());

/** The two pods, and the service between them. */
export interface SidecarPair {
  readonly client: Pod;
  readonly server: Pod;
  readonly hostname: string;
  readonly vip: string;
  readonly httpPorts: readonly number[];
  readonly tcpPorts: readonly number[];
}

const authority = createAuthority();

/** Starts a pair of Envoys. They end with the lab. */
export async function startEnvoyPair(
  stack: AsyncDisposableStack,
  pair: SidecarPair,
  options: { readonly variant: EnvoyVariant; readonly program: EnvoyProgram },
): Promise<void> {
  const { client, server, ...rest } = pair;
  const { variant, program } = options;
  const service = {
    ...rest,
    endpoint: server.addresses.v4,
    clientUri: uriOf(client),
    serverUri: uriOf(server),
  };
  const configurations = [
    [client, outboundSidecar(variant, service, identityOf(client))],
    [server, inboundSidecar(variant, service, identityOf(server))],
  ] as const;
  for (const [pod, configuration] of configurations) {
    const directory = directoryFor(stack);
    const path = join(directory, 'envoy.json');
    writeFileSync(path, JSON.stringify(configuration));
    start(pod, program.path, [
      ...['-c', path, '--concurrency', `${WORKERS}`, '--base-id', `${SIDECAR_UID + bases++}`],
      ...['--log-level', 'error', '--disable-hot-restart'],
    ]);
    await captureForSidecar(pod);
  }
}

let bases = 0;

/** Starts a pair of HAProxys with mTLS only: the minimum cost of a hop through user space. They end with the lab. */
export async function startHaproxyPair(
  stack: AsyncDisposableStack,
  { client, server }: SidecarPair,
): Promise<void> {
  for (const pod of [client, server]) {
    const directory = directoryFor(stack);
    const { certificateChainPem, privateKeyPem, rootsPem } = identityOf(pod);
    const [own, roots] = [join(directory, 'own.pem'), join(directory, 'roots.pem')];
    writeFileSync(own, `${certificateChainPem}${privateKeyPem}`);
    writeFileSync(roots, rootsPem.join(''));
    const tls = `ssl crt ${own} ca-file ${roots} verify required`;
    const path = join(directory, 'haproxy.cfg');
    writeFileSync(
      path,
      `global
  maxconn 4000
  nbthread ${WORKERS}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${
  pod === client
    ? `listen outbound
  bind 0.0.0.0:15001
  server peer 0.0.0.0 ${tls}`
    : `listen inbound
  bind 0.0.0.0:15006 ${tls}
  server application 0.0.0.0 source 127.0.0.6`
}
`,
    );
    start(pod, 'haproxy', ['-q', '-db', '-f', path]);
    await captureForSidecar(pod);
  }
}

/** The files that its user reads; removed with the stack. */
function directoryFor(stack: AsyncDisposableStack): string {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-bench-sidecar-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  chownSync(directory, SIDECAR_UID, SIDECAR_UID);
  return directory;
}

function start(pod: Pod, program: string, words: readonly string[]): void {
  const user = [`--reuid=${SIDECAR_UID}`, `--regid=${SIDECAR_UID}`, '--clear-groups'];
  // Only root may be able to access the binary: its file is opened before the user changes.
  pod.spawn('setpriv', [...user, '--', program, ...words], {
    stdio: ['ignore', 'ignore', 'inherit'],
    cwd: '/',
  });
}

function uriOf(pod: Pod): string {
  return `spiffe://cluster.local/ns/${pod.podNamespace}/sa/${pod.serviceAccount}`;
}

function identityOf(pod: Pod): SidecarIdentity {
  const issued = authority.issue({ uris: [uriOf(pod)] });
  return {
    certificateChainPem: issued.chainPem,
    privateKeyPem: issued.privateKeyPem,
    rootsPem: [authority.rootPem],
  };
}
