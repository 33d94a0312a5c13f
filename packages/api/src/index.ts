export * from './errors.ts';
export type * from './logger.ts';
export * from './model.ts';
