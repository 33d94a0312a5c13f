export * from './connection.ts';
export * from './labels/connection-labels.ts';
export * from './labels/label-sets.ts';
export * from './labels/label-text.ts';
export * from './labels/peer.ts';
