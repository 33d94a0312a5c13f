import { setTimeout as delay } from 'node:timers/promises';
import type { SoakScene } from './scene.ts';

/** A fault or change during traffic. */
export interface Fault {
  readonly name: string;
  run(scene: SoakScene): Promise<void>;
}

const BEFORE_MILLISECONDS = 2_000;
/** Shorter than half the life of a certificate. */
const AWAY_MILLISECONDS = 5_000;

export const faults: readonly Fault[] = [
  { name: 'none', run: () => delay(AWAY_MILLISECONDS) },
  {
    name: 'istiod away',
    async run({ mesh, now }) {
      now.istiodAway = true;
      await mesh.istiod.faults.refuse(true);
      await delay(AWAY_MILLISECONDS);
      await mesh.istiod.faults.refuse(false);
      await mesh.istiod.waitFor('both proxies are back', () => backAt(mesh), 30_000);
    },
  },
  {
    name: 'CNI agent reconnects',
    async run({ mesh }) {
      for (const { agent } of mesh.nodes) {
        for (const connection of agent.ready) connection.close();
        await agent.whenReady();
      }
    },
  },
  { name: 'restart, drained', run: (scene) => restart(scene, 'SIGTERM') },
  {
    name: 'policy denies and allows',
    async run(scene) {
      for (const on of [true, false]) {
        await scene.deny(on);
        await delay(BEFORE_MILLISECONDS);
      }
    },
  },
  {
    name: 'istiod ends streams',
    async run({ mesh, now }) {
      now.istiodAway = true;
      mesh.istiod.faults.dropConnections();
      await delay(BEFORE_MILLISECONDS);
      await mesh.istiod.waitFor('both proxies are back', () => backAt(mesh), 30_000);
    },
  },
  { name: 'restart, killed', run: (scene) => restart(scene, 'SIGKILL') },
];

function backAt({ istiod, nodes }: SoakScene['mesh']): boolean {
  const { connections } = istiod;
  return connections.length >= nodes.length && connections.every(({ outstanding }) => outstanding === 0);
}

/** The proxy of node 1, whose connections may fail until it serves again. */
async function restart({ mesh, now }: SoakScene, signal: NodeJS.Signals): Promise<void> {
  const { proxy, agent } = mesh.node(1);
  now.restarting = true;
  await proxy.stop(signal);
  proxy.start();
  await proxy.ready(60_000);
  await agent.whenReady();
}
