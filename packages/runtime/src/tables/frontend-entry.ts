import { writeAddress } from './address-bytes.ts';
import {
  kmeshDecisionLayout as decisionLayout,
  kmeshFrontendKeyLayout as keyLayout,
  kmeshFrontendAction,
  kmeshFrontendFlag,
} from './gen/layouts.ts';

type FrontendAction = keyof typeof kmeshFrontendAction;

/** One entry of `frontends`: what an address and port mean to a client namespace. */
export interface FrontendEntry {
  /** Id of the client namespace; 0 for what every namespace sees. */
  readonly namespaceId: number;
  /** 0 for the address itself. */
  readonly port: number;
  readonly action: FrontendAction;
  /** Id of the service port, or of the workload; 0 when the action has no target. */
  readonly target: number;
  /** Id of the service; 0 when there is none. */
  readonly service: number;
  /** Other namespaces have other views of this address. */
  readonly scoped: boolean;
}

/** What a frontend is of: an address, or the ports of a CIDR service. */
export type FrontendSubject = { readonly ip: string } | { readonly serviceId: number };

/** Writes `struct kmesh_frontend_key`. */
export function encodeFrontendKey(
  view: DataView,
  offset: number,
  subject: FrontendSubject,
  namespaceId: number,
  port: number,
): void {
  if ('ip' in subject) {
    writeAddress(view, offset + keyLayout.address, subject.ip);
  } else {
    for (let word = 0; word < 12; word += 4) view.setUint32(offset + keyLayout.address + word, 0);
    view.setUint32(offset + keyLayout.address + 12, subject.serviceId, true);
  }
  encodeFrontendPlace(view, offset + keyLayout.place, namespaceId, port);
}

/** Writes the word of a key that is not its address; never 0. */
export function encodeFrontendPlace(view: DataView, offset: number, namespaceId: number, port: number): void {
  view.setUint16(offset, port);
  view.setUint16(offset + 2, 1, true);
  view.setUint32(offset + 4, namespaceId, true);
}

/** Writes `union kmesh_decision`. */
export function encodeDecision(
  view: DataView,
  offset: number,
  entry: Pick<FrontendEntry, 'action' | 'service' | 'scoped'>,
  ports = false,
): void {
  const flags = (entry.scoped ? kmeshFrontendFlag.scoped : 0) | (ports ? kmeshFrontendFlag.ports : 0);
  view.setUint16(offset + decisionLayout.action, kmeshFrontendAction[entry.action], true);
  view.setUint16(offset + decisionLayout.flags, flags, true);
  view.setUint32(offset + decisionLayout.service, entry.service, true);
}
