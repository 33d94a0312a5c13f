/**
 * Scaling of a real daemon on the kernel path: its CPU time at rest and the time of an enrolment with the number of
 * pods, its CPU time at rest with the number of open connections, and the delay of a policy change with the number of
 * policies and open connections.
 */
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { MeshUpdate } from '@kmesh/api';
import { createLab, type LabMesh, startMesh } from '@kmesh/lab';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { processTime } from './harness/processor-time.ts';
import { environment, type Figure, figure, type Report } from './harness/report.ts';
import { quick, rounds } from './harness/settings.ts';

const PODS = quick ? [2, 10] : [2, 10, 50];
const CONNECTIONS = quick ? [1, 100] : [1, 10, 100, 1_000];
const POLICIES = quick ? [1, 100] : [1, 10, 100, 1_000];
const ROUNDS = rounds(3);
/** Time at rest in each round; includes at least one report of open connections. */
const RESTING_MILLISECONDS = quick ? 2_000 : 3_000;

/** The suite `growth`. */
export async function suite(): Promise<Report> {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true, discardsOutput: true });
  const client = await mesh.pod({ name: 'client' });
  const server = await mesh.pod({ name: 'server' });
  await server.pod.serve({ port: 8080, mode: 'http' });
  await untilEnrolled(mesh, [client.pod, server.pod]);
  const figures: Figure[] = [];
  for (const count of POLICIES) {
    await fillPolicies(mesh, count);
    figures.push(
      figure('change of policy in force', `${count} policies of the namespace`, 'ms', await changes(mesh)),
    );
  }
  await fillPolicies(mesh, 0);
  const open: Socket[] = [];
  try {
    for (const count of CONNECTIONS) {
      while (open.length < count)
        open.push(await client.pod.connect({ host: server.pod.addresses.v4, port: 8080 }));
      figures.push(
        figure('change of policy in force', `${count} open connections`, 'ms', await changes(mesh)),
      );
      if (count === CONNECTIONS[0] || count === CONNECTIONS.at(-1))
        figures.push(
          figure('processor time at rest', `${count} open connections`, 'ms/s', await resting(mesh)),
        );
    }
  } finally {
    for (const socket of open) socket.destroy();
  }
  let pods = 2;
  for (const count of PODS) {
    const enrolments: number[] = [];
    for (; pods < count; pods++) enrolments.push(await enrolment(mesh, `pod-${pods}`));
    if (enrolments.length > 0)
      figures.push(figure('enrolment of a pod', `${count} pods of the node`, 'ms', enrolments.slice(-8)));
    figures.push(figure('processor time at rest', `${count} pods of the node`, 'ms/s', await resting(mesh)));
  }
  return { suite: 'growth', environment: environment({ rounds: ROUNDS }), figures, ratios: [] };
}

/** Adds policies of the pods' namespace that match no connection here, in addition to one that allows all. */
async function fillPolicies(mesh: LabMesh, count: number): Promise<void> {
  const all = policy('Allow', { notDestinationPorts: [1] }, { name: 'all' });
  const others = Array.from({ length: MOST }, (_, index) =>
    policy('Allow', { destinationPorts: [index + 1] }, { name: `p${index}` }),
  );
  const changes: MeshUpdate[] = others.map((one, index) => (index < count - 1 ? one : without(one)));
  await mesh.apply(count > 0 ? all : without(all), ...changes);
}

const MOST = Math.max(...POLICIES);

/**
 * Measures the time from sending a change of one policy until it is acknowledged, that is, until the attached programs
 * apply it.
 */
async function changes(mesh: LabMesh): Promise<number[]> {
  const deny = policy('Deny', { destinationPorts: [9] }, { name: 'deny' });
  const times: number[] = [];
  for (let round = 0; round < 4 * ROUNDS; round++) {
    const sent = performance.now();
    await mesh.apply(round % 2 === 0 ? deny : without(deny));
    times.push(performance.now() - sent);
  }
  return times;
}

/** Measures the daemon's CPU milliseconds per second without traffic. */
async function resting(mesh: LabMesh): Promise<number[]> {
  const { pid } = mesh.node().proxy;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [began, before] = [performance.now(), processTime(pid)];
    await delay(RESTING_MILLISECONDS);
    times.push(((processTime(pid) - before) / (performance.now() - began)) * 1_000);
  }
  return times;
}

/** Measures the time from the CNI agent's message to its answer. The pod and its rules exist before. */
async function enrolment(mesh: LabMesh, name: string): Promise<number> {
  const { agent } = mesh.node();
  await mesh.pod({ name });
  return agent.ready.at(-1)?.exchanges.at(-1)?.tookMs ?? Number.NaN;
}
