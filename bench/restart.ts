/**
 * The daemon is killed every second for a minute while a pod opens new connections on the kernel path as fast as it
 * can, at least 2,000/s: no connection may fail.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createLab, startMesh } from '@kmesh/lab';
import { atLeast, atMost, environment, figure, type Report } from './harness/report.ts';
import { quick } from './harness/settings.ts';

const SECONDS = quick ? 15 : 60;
const CONCURRENCY = 8;

/** The suite `restart`. */
export async function suite(): Promise<Report> {
  await using lab = await createLab();
  await lab.node();
  const pins = `${await lab.bpffs()}/kmesh`;
  await using mesh = await startMesh(lab, {
    kernelPath: true,
    environment: { KMESH_PINS: pins },
    discardsOutput: true,
  });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'http' });
  const to = `${server.addresses.v4}:8080`;
  await client.dial({ to, mode: 'http', connections: 100 });
  await delay(1_000);

  const { proxy } = mesh.node();
  const dialing = client.startDialing({ to, mode: 'http', connections: 0, concurrency: CONCURRENCY });
  const end = Date.now() + SECONDS * 1_000;
  let kills = 0;
  while (Date.now() < end) {
    proxy.kill('SIGKILL');
    kills++;
    await proxy.ended;
    proxy.start();
    await delay(1_000);
  }
  const report = await dialing.stop();
  for (const failure of report.failures) console.error(failure);
  const rate = report.connections / (report.elapsedNs / 1e9);
  return {
    suite: 'restart',
    environment: environment(),
    figures: [
      figure('daemon killed', 'kernel path', 'times', [kills]),
      figure('new connections', 'kernel path', 'connections/s', [rate]),
      figure('failed', 'kernel path', 'connections', [report.failed]),
    ],
    ratios: [atMost('failed connections', report.failed, 0), atLeast('new connections/s', rate, 2_000)],
  };
}
