/**
 * Loads every module of `kmesh proxy` once, in the threads that need them, so that Node.js keeps them compiled: the first
 * start of the daemon is then like all others. Run by scripts/build.sh.
 */
import { ensureEngineOptions } from '../packages/kmesh/src/engine-options.ts';

ensureEngineOptions();
process.argv[2] = 'version';
await import('../packages/kmesh/src/main.ts');
const { startLogThread, startScrapeServer } = await import('@kmesh/probe');
const log = startLogThread();
const scrape = await startScrapeServer({ host: '127.0.0.1', port: 0 });
await scrape.close();
await log.close();
