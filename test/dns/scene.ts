import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Service } from '@kmesh/api';
import { createLab, type LabMesh, type Pod, serviceOf, startMesh } from '@kmesh/lab';

const program = (name: string): string => new URL(`../../build/lab/${name}`, import.meta.url).pathname;

/** A mesh with one client in `ns1`, and a real unbound outside the mesh as its resolver. */
export interface DnsScene extends AsyncDisposable {
  readonly mesh: LabMesh;
  readonly client: Pod;
  /** Address of the resolver. */
  readonly resolver: string;
  /** Starts a second resolver, at a new address. */
  secondResolver(): Promise<string>;
  /** Starts a resolver that receives queries and never answers, at a new address. */
  silentResolver(): Promise<string>;
  /** Changes the proxy's own resolv.conf, which it reads every five seconds. */
  useResolvers(...addresses: readonly string[]): void;
  /** `dig` in a pod: response code, flags and answers `name type data`. */
  dig(question: string, options?: { readonly at?: string; readonly from?: Pod }): Promise<DigAnswer>;
  /** A resolver's answer, line by line: of glibc, musl, Go or Node. */
  lookUp(how: Resolver, name: string, family?: 4 | 6): Promise<string[]>;
}

export type Resolver = 'glibc' | 'musl' | 'go' | 'node';

export interface DigAnswer {
  readonly status: string;
  readonly flags: readonly string[];
  readonly answers: readonly string[];
  readonly text: string;
}

/** A service under the key `namespace/hostname`. */
export function named(key: string, vips: readonly string[], fields: Partial<Service> = {}): Service {
  const slash = key.indexOf('/');
  const [namespace, hostname] = [key.slice(0, slash), key.slice(slash + 1)];
  return {
    ...serviceOf({ name: hostname.split('.')[0] ?? '', namespace, vips, ports: { 80: 8080 } }),
    hostname,
    ...fields,
  };
}

/** Builds the scene. `environment` goes to the node proxy. */
export async function dnsScene(environment: Readonly<Record<string, string>> = {}): Promise<DnsScene> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-dns-scene-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const lab = stack.use(await createLab());
  await lab.node({ name: 'node-1' });
  const conf = join(directory, 'resolv.conf');
  writeFileSync(conf, '');
  const mesh = stack.use(
    await startMesh(lab, {
      environment: { KMESH_RESOLV_CONF: conf, PREFERED_SERVICE_NAMESPACE: 'ns-preferred', ...environment },
    }),
  );
  const { pod: outside } = await mesh.pod({ name: 'resolver', captured: false });
  const resolver = outside.addresses.v4;
  await startUnbound(outside, resolver, directory);
  const podConf = join(directory, 'pod-resolv.conf');
  writeFileSync(conf, `nameserver ${resolver}\n`);
  writeFileSync(
    podConf,
    `nameserver ${resolver}\nsearch ns1.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:3\n`,
  );
  const { pod: client } = await mesh.pod({ name: 'client', namespace: 'ns1' });
  const owned = stack.move();
  return {
    mesh,
    client,
    resolver,
    secondResolver: async () => {
      const { pod } = await mesh.pod({ name: 'resolver-2', captured: false });
      await startUnbound(
        pod,
        pod.addresses.v4,
        directory,
        'local-data: "only-second.example. 60 IN A 203.0.113.9"',
      );
      return pod.addresses.v4;
    },
    async silentResolver() {
      const { pod } = await mesh.pod({ name: 'silent', captured: false });
      const code = `require('node:dgram').createSocket('udp4').bind(53, () => console.log('bound'))`;
      const child = pod.spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
      return pod.addresses.v4;
    },
    useResolvers(...addresses) {
      writeFileSync(conf, addresses.map((address) => `nameserver ${address}\n`).join(''));
    },
    async dig(question, { at = resolver, from = client } = {}) {
      const words = question.split(' ');
      const { stdout } = await from.run(
        'dig',
        ['+noall', '+comments', '+answer', '+additional', '+time=7', '+tries=1', `@${at}`, ...words],
        {
          check: false,
        },
      );
      return readDig(stdout);
    },
    async lookUp(how, name, family = 4) {
      const script = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"';
      const { stdout } = await client.run(
        'unshare',
        ['-m', 'sh', '-c', script, podConf, ...commandOf(how, name, family)],
        { check: false },
      );
      return stdout.trim().split('\n').sort();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A resolver that knows only a few outside names. */
async function startUnbound(host: Pod, address: string, directory: string, more = ''): Promise<void> {
  const path = join(directory, `unbound-${host.name}.conf`);
  writeFileSync(
    path,
    `server:
  interface: ${address}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  local-zone: "." static
  local-data: "www.bing.com. 60 IN A 203.0.113.7"
  local-data: "www.bing.com. 60 IN AAAA 2001:db8::7"
  ${more}
remote-control:
  control-enable: no
`,
  );
  const child = host.spawn('/usr/sbin/unbound', ['-d', '-c', path]);
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (log += String(text)));
  for (let tries = 0; tries < 100; tries++) {
    const { stdout } = await host.run(
      'dig',
      ['+short', '+time=1', '+tries=1', `@${address}`, 'www.bing.com'],
      { check: false },
    );
    if (stdout.includes('203.0.113.7')) return;
    if (child.exitCode !== null) break;
  }
  throw new Error(`unbound does not answer: ${log}`);
}

/** Polls until the condition holds or the test times out. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(20);
}

function commandOf(how: Resolver, name: string, family: 4 | 6): string[] {
  if (how !== 'node') return [program(`resolve-${how}`), name, `${family}`];
  const code = `require('node:dns').promises.resolve${family}(process.argv[1]).then((found) => console.log(found.join('\\n')), (error) => console.log('error: ' + error.code))`;
  return [process.execPath, '-e', code, name];
}

function readDig(text: string): DigAnswer {
  const section = text.split(';; ANSWER SECTION:\n')[1]?.split('\n\n')[0] ?? '';
  const answers = section
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith(';'))
    .map((line) => {
      const [name, , , type, ...data] = line.split(/\s+/);
      return `${name} ${type} ${data.join(' ')}`;
    })
    .sort();
  return {
    status: /status: (\w+)/.exec(text)?.[1] ?? 'no answer',
    flags: /flags: ([a-z ]*);/.exec(text)?.[1]?.split(' ') ?? [],
    answers,
    text,
  };
}
