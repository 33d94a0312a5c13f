/**
 * One round of the suite `footprint`: `round.ts <workloads> <services>`, in its own network namespace. Starts the
 * daemon with the push server and a CNI agent without pods, pushes the mesh, waits until the daemon is at rest, and
 * writes the results to standard output as one JSON object. Ends when its standard input does.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cgroupRoot, FakeCniAgent } from '@kmesh/lab';
import { MeasuredDaemon } from '../xds/daemon.ts';
import { type MemoryKinds, memoryKinds, threadsOf } from './memory-kinds.ts';

/** Results of a round; memory in MB of a million bytes. */
export interface FootprintRound extends MemoryKinds {
  /** From the start of the process to the first answer that it is ready, in milliseconds. */
  readonly ready: number;
  readonly threads: Readonly<Record<string, number>>;
}

interface Listening {
  readonly event: string;
  readonly xdsAddress: string;
  readonly caAddress: string;
  readonly rootPem: string;
  readonly token: string;
}

/** Time after the push for garbage collections and the release of memory that only the start needed. */
const restMilliseconds = 10_000;
const [workloads = 0, services = 0] = process.argv.slice(2).map(Number);
process.stdin.on('end', () => process.exit(1)).resume();
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const directory = mkdtempSync(join(tmpdir(), 'kmesh-bench-footprint-'));
const cgroup = join(cgroupRoot(), `kmesh-footprint-${process.pid}`);
mkdirSync(cgroup);
process.on('exit', () => {
  rmSync(directory, { recursive: true, force: true });
  rmdirSync(cgroup);
});

const server = fork(fileURLToPath(new URL('../xds/push-server.ts', import.meta.url)), [
  `${workloads}`,
  `${services}`,
]);
const listening = await message(server, 'listening');
writeFileSync(join(directory, 'root.pem'), listening.rootPem);
writeFileSync(join(directory, 'token'), listening.token, { mode: 0o600 });
await using _agent = new FakeCniAgent(join(directory, 'cni.sock'), {});
const subscribed = message(server, 'subscribed');
const begun = performance.now();
const daemon = new MeasuredDaemon({
  XDS_ADDRESS: listening.xdsAddress,
  XDS_ROOT_CA: join(directory, 'root.pem'),
  CA_ADDRESS: listening.caAddress,
  CA_ROOT_CA: join(directory, 'root.pem'),
  AUTH_TOKEN: join(directory, 'token'),
  NODE_NAME: 'node-1',
  INPOD_UDS: join(directory, 'cni.sock'),
  KMESH_CGROUP: cgroup,
});
process.on('exit', () => daemon.kill());
await subscribed;
const pushed = message(server, 'pushed');
server.send({ push: true });
await pushed;
while (!(await isReady())) await delay(5);
const ready = performance.now() - begun;
await daemon.quiet();
await delay(restMilliseconds);
const round: FootprintRound = {
  ready,
  ...memoryKinds(daemon.pid),
  threads: Object.fromEntries(threadsOf(daemon.pid)),
};
await new Promise((resolve) => process.stdout.write(`${JSON.stringify(round)}\n`, resolve));
daemon.kill();
await daemon.ended;
process.exit(0);

function isReady(): Promise<boolean> {
  return new Promise((resolve) => {
    request({ host: '127.0.0.1', port: 15021, path: '/healthz/ready', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    })
      .on('error', () => resolve(false))
      .end();
  });
}

function message(child: ChildProcess, event: string): Promise<Listening> {
  return new Promise((resolve) => {
    const look = (candidate: Listening): void => {
      if (candidate.event !== event) return;
      child.off('message', look);
      resolve(candidate);
    };
    child.on('message', look);
  });
}
