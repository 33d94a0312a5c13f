import type { Workload } from '@kmesh/api';
import { authorize, type MeshView } from '@kmesh/orchestration';
import type { Caller } from './callers.ts';

/** One connection of the matrix. */
export interface Attempt {
  readonly caller: Caller;
  readonly server: Workload;
  readonly family: 'v4' | 'v6';
  readonly port: number;
}

/** Expected result. */
export interface Expected {
  readonly served: boolean;
  /** The line in the log of the destination's node. */
  readonly path: 'kernel' | 'tunnel';
}

/** One address inside and one outside every range in the policies of the matrix. */
const addressesOfAllKinds = ['10.1.0.77', '10.2.0.77', '172.18.0.1', '203.0.113.1', '10.1.0.2', '10.1.0.3'];
const addressesOfAllKinds6 = [
  'fd00:10:1::77',
  'fd00:10:2::77',
  'fd00:18::1',
  '2001:db8::1',
  'fd00:10:1::2',
  'fd00:10:1::3',
];

/** Orchestration's verdict, and the expected path: the kernel serves callers that are allowed with any address. */
export function expectedOf(view: MeshView, attempt: Attempt, kernelPath: boolean): Expected {
  const { caller, server, family, port } = attempt;
  const destinationIp = server.addresses[family === 'v4' ? 0 : 1] ?? '';
  const allowed = (identity: Caller['identity'], sourceIp: string, target: string): boolean =>
    authorize(view, { identity, sourceIp, destinationIp: target, destinationPort: port }, server).allowed;
  const all = [...addressesOfAllKinds, ...addressesOfAllKinds6];
  const isCertain = (identity: Caller['identity']): boolean =>
    all.every((source) => all.every((target) => allowed(identity, source, target)));
  if (kernelPath && caller.attestedAs !== undefined && isCertain(caller.attestedAs)) {
    return { served: true, path: 'kernel' };
  }
  const served = allowed(caller.identity, caller.seen[family], destinationIp);
  const certain = served && isCertain(caller.identity);
  // The address of a pod never counts as an unknown client's: without attestation the connection takes the tunnel path.
  const mayServe = caller.kernelMayServe && caller.attestedAs === undefined;
  return { served, path: kernelPath && certain && mayServe ? 'kernel' : 'tunnel' };
}
