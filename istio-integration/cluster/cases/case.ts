import type { Scene } from './scene.ts';

/** A situation in a cluster, and what must come of it. */
export interface Case {
  /** Begins with the ids of docs/conformance.md that it checks, if any. */
  readonly name: string;
  /** It is about the kernel path, so not about a proxy without the mounts of the profile. */
  readonly kernelPath?: true;
  /** It needs an image of an earlier revision: {@link Scene.earlier}. */
  readonly earlier?: true;
  /** Fails when something else came of it. Leaves the scene as it was. Returns what it measured, if it did, in a line of text. */
  readonly run: (scene: Scene) => Promise<string> | Promise<void>;
}
