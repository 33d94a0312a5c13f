export * from './certificates/index.ts';
export * from './local/index.ts';
export * from './xds/index.ts';
