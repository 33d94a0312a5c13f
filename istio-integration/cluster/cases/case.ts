import type { Scene } from './scene.ts';

/** A situation in a cluster, and its expected result. */
export interface Case {
  /** Begins with the ids of docs/conformance.md that it checks, if any. */
  readonly name: string;
  /** Whether it needs the kernel path, and so a proxy with the mounts of the profile. */
  readonly kernelPath?: true;
  /** Whether it needs an image of an earlier revision: {@link Scene.earlier}. */
  readonly earlier?: true;
  /** Throws if the result differs. Restores the scene. May return its measurements in a line of text. */
  readonly run: (scene: Scene) => Promise<string> | Promise<void>;
}
