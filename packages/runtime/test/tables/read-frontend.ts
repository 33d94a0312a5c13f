import { encodeFrontendKey, type FrontendSubject, frontendHash } from '../../src/tables/frontend-slots.ts';
import {
  kmeshConstant,
  kmeshFrontendAction,
  kmeshFrontendKeyLayout,
  kmeshSettingsLayout,
  kmeshFrontendLayout as layout,
} from '../../src/tables/gen/layouts.ts';
import type { KernelMaps } from '../../src/tables/kernel-object.ts';

type FrontendMaps = Pick<KernelMaps, 'frontends' | 'settings'>;

/** The entry that a program finds under a key. */
export interface FoundFrontend {
  readonly slot: number;
  /** Number of the probe that found it. */
  readonly step: number;
  readonly action: string | undefined;
  readonly service: number;
  readonly range4: { readonly base: number; readonly count: number };
  readonly range6: { readonly base: number; readonly count: number };
}

/** Finds a key as bpf/frontends.h does. */
export function readFrontend(
  maps: FrontendMaps,
  subject: FrontendSubject,
  namespaceId: number,
  port: number,
): FoundFrontend | undefined {
  const key = new DataView(new ArrayBuffer(kmeshFrontendKeyLayout.size));
  encodeFrontendKey(key, 0, subject, namespaceId, port);
  const keys = new BigUint64Array(maps.settings, kmeshSettingsLayout.hashKeys, kmeshConstant.hashKeys);
  const view = new DataView(maps.frontends.map());
  const mask = maps.frontends.byteLength / layout.size - 1;
  const home = frontendHash(keys)(new Uint32Array(key.buffer)) & mask;
  const held = view.getUint32(home * layout.size + layout.held, true);
  let slot = home;
  for (let step = 0; step < kmeshConstant.frontendProbes; step++) {
    slot = (slot + step) & mask;
    if (step > 0 && ((held >>> step) & 1) === 0) continue;
    const at = slot * layout.size;
    const same = (offset: number) => view.getBigUint64(at + offset) === key.getBigUint64(offset);
    if (!same(0) || !same(8) || !same(16)) continue;
    const action = view.getUint16(at + layout.decision, true);
    const range = (offset: number) => ({
      base: view.getUint32(at + offset, true),
      count: view.getUint32(at + offset + 4, true),
    });
    return {
      slot,
      step,
      action: Object.entries(kmeshFrontendAction).find(([, number]) => number === action)?.[0],
      service: view.getUint32(at + layout.decision + 4, true),
      range4: range(layout.range4),
      range6: range(layout.range6),
    };
  }
  return undefined;
}

/** Entries that hold a key. */
export function liveFrontends(maps: FrontendMaps): number {
  const view = new DataView(maps.frontends.map());
  let live = 0;
  for (let at = 0; at < maps.frontends.byteLength; at += layout.size) {
    if (view.getBigUint64(at + layout.place) !== 0n) live++;
  }
  return live;
}
