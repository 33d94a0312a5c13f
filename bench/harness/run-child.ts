/**
 * The process of a suite: `run-child.ts <suite>`, started by `run.ts`. Sends its progress, and its report at the end.
 */
import { interrupt, sendReport } from './child.ts';
import type { Suite } from './report.ts';

const [name = ''] = process.argv.slice(2);
const onLost = (): void => process.exit(1);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
process.on('message', interrupt);
process.on('disconnect', onLost);
const { suite }: { suite: Suite } = await import(new URL(`../${name}.ts`, import.meta.url).href);
sendReport(await suite());
process.off('disconnect', onLost);
process.disconnect?.();
