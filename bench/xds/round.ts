/**
 * One round of the suite `xds`: `round.ts <workloads> <services>`, in its own network namespace. Runs the daemon
 * against the push server, and writes the results to standard output as one JSON object. Ends when its standard input
 * does.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MeasuredDaemon, millisecondsOf } from './daemon.ts';

/** Results of a round; memory in MB of a million bytes, times in milliseconds. */
export interface Round {
  readonly pushMegabytes: number;
  readonly inState: number;
  readonly inKernel: number;
  readonly delay: number;
  readonly peakMegabytes: number;
  readonly settledMegabytes: number;
  readonly change: number;
  /** During a churn of one per cent of the workloads per second. */
  readonly churnCpu: number;
  readonly churnDelay: number;
  readonly churnMegabytes: number;
  /** While /config_dump is read. */
  readonly dumpDelay: number;
  readonly dumpMegabytes: number;
}

interface Message {
  readonly event: string;
  readonly xdsAddress: string;
  readonly caAddress: string;
  readonly rootPem: string;
  readonly token: string;
  readonly bytes: number;
  readonly begun: string;
  readonly written: string;
}

const churnSeconds = 5;
const messageMilliseconds = 30_000;
const [workloads = 0, services = 0] = process.argv.slice(2).map(Number);
process.stdin.on('end', () => process.exit(1)).resume();
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const directory = mkdtempSync(join(tmpdir(), 'kmesh-bench-xds-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const server = fork(fileURLToPath(new URL('push-server.ts', import.meta.url)), [
  `${workloads}`,
  `${services}`,
]);
const listening = await message(server, 'listening');
const subscribed = message(server, 'subscribed');
writeFileSync(join(directory, 'root.pem'), listening.rootPem);
writeFileSync(join(directory, 'token'), listening.token, { mode: 0o600 });
const daemon = new MeasuredDaemon({
  XDS_ADDRESS: listening.xdsAddress,
  XDS_ROOT_CA: join(directory, 'root.pem'),
  CA_ADDRESS: listening.caAddress,
  CA_ROOT_CA: join(directory, 'root.pem'),
  AUTH_TOKEN: join(directory, 'token'),
  NODE_NAME: 'node-1',
  POD_NAME: 'ztunnel-x',
  POD_NAMESPACE: 'istio-system',
  ISTIO_META_DNS_CAPTURE: 'false',
  // Nothing listens there: the programs are loaded but not attached, so the machine's traffic is unaffected.
  INPOD_UDS: join(directory, 'cni.sock'),
});
process.on('exit', () => daemon.kill());
await subscribed;
await daemon.quiet();
await daemon.metrics();

const { written } = await wish('pushed', { push: true });
await daemon.quiet();
const pushed = millisecondsOf(written);
const inState = Math.max(0, (daemon.marks('applied').at(-1) ?? Number.NaN) - pushed);
const inKernel = Math.max(0, (daemon.marks('written').at(-1) ?? Number.NaN) - pushed);
const delay = await daemon.longestDelay();
if (Number.isNaN(inState + inKernel)) throw new Error('the daemon does not log what it applies');
const settledMegabytes = megabytes(daemon.status('VmRSS'));
const peakMegabytes = megabytes(daemon.status('VmHWM'));
await checkTables();

// A workload of the daemon's own node: its slots are in the kernel tables.
const changed = await wish('changed', { change: 1 });
await daemon.quiet();
const change = (daemon.marks('written').at(-1) ?? Number.NaN) - millisecondsOf(changed.begun);

await daemon.metrics();
const before = { cpu: daemon.cpuSeconds(), at: performance.now(), applied: daemon.marks('applied').length };
await wish('churned', { churnSeconds });
const churnCpu = ((daemon.cpuSeconds() - before.cpu) * 1000) / (performance.now() - before.at);
await daemon.quiet();
const responses = daemon.marks('applied').length - before.applied;
if (responses !== churnSeconds * 10) throw new Error(`only ${responses} changes of ${churnSeconds * 10}`);
const churnDelay = await daemon.longestDelay();
const churnMegabytes = megabytes(daemon.status('VmHWM'));

const dumpBytes = await daemon.admin('/config_dump');
if (dumpBytes < workloads * 500) throw new Error(`a config dump of only ${dumpBytes} bytes`);
const round: Round = {
  pushMegabytes: listening.bytes / 1e6,
  ...{
    inState,
    inKernel,
    delay,
    peakMegabytes,
    settledMegabytes,
    change,
    churnCpu,
    churnDelay,
    churnMegabytes,
  },
  dumpDelay: await daemon.longestDelay(),
  dumpMegabytes: megabytes(daemon.status('VmHWM')),
};
await new Promise((resolve) => process.stdout.write(`${JSON.stringify(round)}\n`, resolve));
process.exit(0);

/** Asserts that nothing is missing or refused, independently of the log. */
async function checkTables(): Promise<void> {
  const metrics = await daemon.metrics();
  const entries = metrics.get('kmesh_table_entries{table="frontends"}');
  if (entries !== workloads + 3 * services) throw new Error(`${entries} frontends are in the kernel tables`);
  for (const [name, value] of metrics) {
    if (name.startsWith('kmesh_table_refusals_total') && value > 0) throw new Error(`${name} is ${value}`);
  }
  const last = services - 1;
  const address = `10.${96 + (last >> 16)}.${(last >> 8) & 255}.${last & 255}`;
  const view = (await daemon.adminJson(`/kmesh/tables?address=${address}`)) as {
    address: { entries: { action: string }[] };
  };
  const balanced = view.address.entries.filter(({ action }) => action === 'balance').length;
  if (balanced !== 2) throw new Error(`${balanced} ports of the last service are in the kernel tables`);
}

async function wish(answer: string, asked: Record<string, unknown>): Promise<Message> {
  const answered = message(server, answer);
  server.send(asked);
  return answered;
}

function megabytes(kilobytes: number): number {
  return (kilobytes * 1024) / 1e6;
}

function message(child: ChildProcess, event: string): Promise<Message> {
  return new Promise((resolve, reject) => {
    const failed = (code: number | null): void =>
      reject(new Error(`the push server ended with code ${code}`));
    const look = (candidate: Message): void => {
      if (candidate.event !== event) return;
      child.off('message', look);
      child.off('exit', failed);
      clearTimeout(deadline);
      resolve(candidate);
    };
    const deadline = setTimeout(
      () => reject(new Error(`the push server does not say "${event}"`)),
      messageMilliseconds,
    );
    child.on('message', look);
    child.on('exit', failed);
  });
}
