export { ensureEngineOptions } from './engine-options.ts';
