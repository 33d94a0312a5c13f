export type * from './state/mesh-view.ts';
