export type { Overview } from './admin/overview.ts';
export * from './certificates/index.ts';
export { type Config, readConfig } from './config/config.ts';
export { type Environment, parseDuration } from './config/values.ts';
export { kernelPathObstacles } from './daemon/kernel-path.ts';
export { runProxy } from './daemon/run-proxy.ts';
export * from './local/index.ts';
export { versionInfo, versionLine } from './version.ts';
export * from './xds/index.ts';
