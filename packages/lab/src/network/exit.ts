/** Clean-ups of labs that are open, by their owner. */
const cleanUps = new Map<object, () => void>();

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs `cleanUp`, which must be synchronous, when the process exits while `owner` is still open. */
export function cleanUpAtExit(owner: object, cleanUp: () => void): void {
  if (cleanUps.size === 0) {
    process.on('exit', runAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  cleanUps.set(owner, cleanUp);
}

export function forgetAtExit(owner: object): void {
  if (!cleanUps.delete(owner) || cleanUps.size > 0) return;
  process.off('exit', runAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

function runAll(): void {
  for (const cleanUp of [...cleanUps.values()]) cleanUp();
}

/** Ends the process as the signal would have, unless the program has a handler of its own, which then decides. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  runAll();
  process.kill(process.pid, signal);
}
