import { KmeshError, type MeshUpdate } from '@kmesh/api';
import type { CertificateSettings } from './certificate-service.ts';
import type { IstiodFaults } from './faults.ts';
import { generatedWorkload } from './generate-mesh.ts';
import type { FakeIstiod } from './istiod-interface.ts';

/** What a line on standard input may ask of a fake istiod that runs as its own process. */
export type ControlCommand =
  | { readonly command: 'status' }
  /** Turns `count` generated workloads to the other health, going round. */
  | { readonly command: 'churn'; readonly count: number }
  | { readonly command: 'fault'; readonly name: keyof IstiodFaults; readonly arguments?: readonly unknown[] }
  | { readonly command: 'certificates'; readonly settings: Partial<CertificateSettings> }
  | { readonly command: 'close' };

/** The generated part of the mesh, for `churn`. */
export interface GeneratedPart {
  readonly workloads: number;
  readonly services: number;
  readonly nodes: number;
}

/** Updates that flip the health of the next `count` workloads, and where to go on. */
function churn(part: GeneratedPart, from: number, count: number): { updates: MeshUpdate[]; next: number } {
  const updates: MeshUpdate[] = [];
  for (let step = from; step < from + count && part.workloads > 0; step += 1) {
    const unhealthy = Math.floor(step / part.workloads) % 2 === 0;
    const workload = generatedWorkload(step % part.workloads, part.services, part.nodes);
    updates.push({
      kind: 'workload',
      workload: { ...workload, status: unhealthy ? 'Unhealthy' : 'Healthy' },
    });
  }
  return { updates, next: from + count };
}

/** Carries out a control command; the result goes to standard output as one line. `close` is the caller's. */
export class IstiodControl {
  readonly #istiod: FakeIstiod;
  readonly #generated: GeneratedPart;
  #position = 0;

  constructor(istiod: FakeIstiod, generated: GeneratedPart) {
    this.#istiod = istiod;
    this.#generated = generated;
  }

  /** @throws KMESH_LAB_COMMAND when the command is unknown. */
  async run(command: ControlCommand): Promise<Record<string, unknown>> {
    const istiod = this.#istiod;
    switch (command.command) {
      case 'status':
        return {
          connections: istiod.connections,
          requests: istiod.requests.length,
          rejected: istiod.requests
            .filter((request) => request.kind === 'nack')
            .map((request) => request.error),
          certificateRequests: istiod.certificateRequests.length,
          violations: istiod.violations,
        };
      case 'churn': {
        const { updates, next } = churn(this.#generated, this.#position, command.count);
        this.#position = next;
        istiod.update(updates);
        return { updated: updates.length };
      }
      case 'fault': {
        const fault = istiod.faults[command.name] as ((...values: unknown[]) => unknown) | undefined;
        if (fault === undefined)
          throw new KmeshError('KMESH_LAB_COMMAND', `there is no fault "${command.name}"`);
        await fault(...(command.arguments ?? []));
        return {};
      }
      case 'certificates':
        Object.assign(istiod.certificates, command.settings);
        return {};
      default:
        throw new KmeshError('KMESH_LAB_COMMAND', `unknown command ${JSON.stringify(command)}`);
    }
  }
}
