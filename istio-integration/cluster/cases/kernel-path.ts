import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { type AccessLine, parseAccessLog, parseMetrics, type Sample } from '@kmesh/lab';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { rollProxies, underLoad } from './lifecycle.ts';
import { answered, call, identity, inside, onlyPod, outside, proxyOf, type Scene } from './scene.ts';

/** Sample of {@link kernelShare}. */
export const SAMPLE = 40;

/** Returns how many of {@link SAMPLE} connections between two pods of a node took the kernel path, by the access log. */
export async function kernelShare(scene: Scene): Promise<number> {
  const client = await onlyPod(scene, 'client');
  const near = await onlyPod(scene, 'near');
  const proxy = await proxyOf(scene, client.spec?.nodeName ?? '');
  const lines = async (): Promise<string[]> =>
    parseAccessLog(await scene.api.log(proxy))
      .map(({ fields }) => fields)
      .filter(
        (fields) =>
          fields['src.workload'] === client.metadata?.name &&
          fields['dst.workload'] === near.metadata?.name &&
          fields['direction'] === 'outbound',
      )
      .map((fields) => String(fields['path']));
  const before = (await lines()).length;
  answered(await call(scene, client, `http://near.${inside}:80`, { count: SAMPLE }));
  let seen = 0;
  const paths = await waitUntil(
    `${SAMPLE} lines of the access log`,
    20_000,
    async () => {
      const all = await lines();
      seen = all.length - before;
      return seen >= SAMPLE ? all.slice(before, before + SAMPLE) : undefined;
    },
    { everyMs: 300, state: () => `${seen} lines` },
  );
  return paths.filter((path) => path === 'kernel').length;
}

/** Waits until the kernel path serves at least `share` of {@link SAMPLE}, as after an enrolment. */
export async function serves(scene: Scene, share: number): Promise<void> {
  let last = 0;
  await waitUntil(
    `${share} of ${SAMPLE} connections between pods of a node on the kernel path`,
    30_000,
    async () => {
      last = await kernelShare(scene);
      return last >= share ? true : undefined;
    },
    { everyMs: 500, state: () => `${last}` },
  );
}

/** Counts of connections from one app to a service, by reporter and remaining labels. */
async function openedBy(scene: Scene, from: string, to: string): Promise<Sample[]> {
  const stranger = await onlyPod(scene, 'stranger', outside);
  const proxy = await proxyOf(scene, scene.nodes[0] ?? '');
  const { text } = answered(await call(scene, stranger, `http://${proxy.status?.podIP}:15020/metrics`));
  return parseMetrics(text.replace(/^\[\d+ body\] /gm, '')).filter(
    ({ name, labels }) =>
      name === 'istio_tcp_connections_opened_total' &&
      labels['source_workload'] === from &&
      labels['destination_service_name'] === to,
  );
}

/**
 * Labels that must be equal for the connections of two apps to one service: all except the source's names and the
 * security policy, which differs on the tunnel path.
 */
function alike(labels: Sample['labels']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels).filter(
      ([label]) =>
        !/^(?:source_(?:workload|principal|canonical_service|app)|connection_security_policy)$/.test(label),
    ),
  );
}

/** Access log lines of connections from one app to another of its node, or to itself. */
async function linesOf(scene: Scene, from: string, to: string): Promise<AccessLine['fields'][]> {
  const proxy = await proxyOf(scene, scene.nodes[0] ?? '');
  const [source, destination] = [await onlyPod(scene, from), await onlyPod(scene, to)];
  return parseAccessLog(await scene.api.log(proxy))
    .map(({ fields }) => fields)
    .filter(
      (fields) =>
        fields['src.workload'] === source.metadata?.name &&
        fields['dst.workload'] === destination.metadata?.name,
    );
}

/** The kernel path, in a cluster that gives Kmesh its mounts. */
export const kernelPathCases: readonly Case[] = [
  {
    name: 'all connections between pods of a node take the kernel path; capture is found in every pod, and the wire delivers packets itself',
    kernelPath: true,
    async run(scene) {
      await serves(scene, SAMPLE);
      for (const node of scene.nodes) {
        const log = await scene.api.log(await proxyOf(scene, node));
        assert.doesNotMatch(
          log,
          /has no capture rules|cannot be read|other software has a program|the wire is not attached/,
        );
      }
    },
  },
  {
    name: 'OBS-12: a connection of a pod to its own service has both principals in metrics and access log, like one between two pods',
    kernelPath: true,
    async run(scene) {
      const host = `near.${inside}`;
      const callers = ['client', 'near'] as const;
      await serves(scene, SAMPLE);
      const before = (await linesOf(scene, 'near', 'near')).length;
      for (const from of callers)
        answered(await call(scene, await onlyPod(scene, from), `http://${host}:80`, { count: 5 }));
      const lines = await waitUntil(
        'access log lines of a pod with itself',
        20_000,
        async () => {
          const found = (await linesOf(scene, 'near', 'near')).slice(before);
          return found.length >= 5 ? found : undefined;
        },
        { everyMs: 300 },
      );
      for (const line of lines)
        assert.deepEqual(
          [line['src.identity'], line['dst.identity']],
          [identity('near'), identity('near')],
          JSON.stringify(line),
        );
      let counts = '';
      await waitUntil(
        'counts of a pod with itself that are as those of two pods',
        20_000,
        async () => {
          const [two = [], own = []] = await Promise.all(
            callers.map((from) => openedBy(scene, from, 'near')),
          );
          counts = JSON.stringify({ two, own });
          const known = two.map(({ labels }) => alike(labels));
          const reporters = new Set(own.map(({ labels }) => labels['reporter']));
          return reporters.size === 2 &&
            own.every(
              ({ labels }) =>
                labels['source_principal'] === identity('near') &&
                known.some((others) => isDeepStrictEqual(others, alike(labels))),
            )
            ? true
            : undefined;
        },
        { everyMs: 500, state: () => counts },
      );
    },
  },
  {
    name: 'after three rolls the kernel path serves the same share as before, and no call failed meanwhile',
    kernelPath: true,
    async run(scene) {
      await serves(scene, SAMPLE);
      const urls = [`http://near.${inside}:80`, `http://far.${inside}:80`];
      const { failures } = await underLoad(scene, urls, async () => {
        for (const _roll of [1, 2, 3]) await rollProxies(scene);
      });
      assert.deepEqual(failures, []);
      await serves(scene, SAMPLE);
    },
  },
];
