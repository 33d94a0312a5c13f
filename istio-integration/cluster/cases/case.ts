import type { Scene } from './scene.ts';

/** A situation in a cluster, and what must come of it. */
export interface Case {
  /** Begins with the ids of docs/conformance.md that it checks, if any. */
  readonly name: string;
  /** Fails when something else came of it. Leaves the scene as it was. */
  readonly run: (scene: Scene) => Promise<void>;
}
