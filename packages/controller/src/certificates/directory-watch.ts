import { type FSWatcher, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, systemClock } from './clock.ts';

export interface DirectoryWatchOptions {
  readonly clock?: Clock;
  /** How long the directory must be quiet before `onChange` is called. Default 2 s. */
  readonly debounceMilliseconds?: number;
  /** Interval of retries while a directory cannot be watched. Default 5 s. */
  readonly retryMilliseconds?: number;
}

/**
 * Watches the directory of a file, not the file: Kubernetes replaces mounted files by swapping a symbolic link beside
 * them. Calls `onChange` after each burst of changes, and when a missing directory appears. Returns an unsubscribe
 * function. Ambient contract 5.
 */
export function watchDirectoryOf(
  path: string,
  onChange: () => void,
  options: DirectoryWatchOptions = {},
): () => void {
  const clock = options.clock ?? systemClock;
  const debounce = options.debounceMilliseconds ?? 2000;
  let watcher: FSWatcher | undefined;
  let cancelRetry: () => void = () => undefined;
  let cancelDebounce: () => void = () => undefined;
  let stopped = false;

  const touched = (): void => {
    cancelDebounce();
    cancelDebounce = clock.after(debounce, onChange);
  };
  const start = (again: boolean): void => {
    if (stopped) return;
    try {
      const directory = dirname(path);
      const { ino } = statSync(directory);
      const started = watch(directory, { persistent: false });
      watcher = started;
      started.on('change', (event) => {
        // A watch on a removed or replaced directory reports nothing further.
        if (event === 'rename' && statSync(directory, { throwIfNoEntry: false })?.ino !== ino) retry();
        touched();
      });
      started.on('error', retry);
      if (again) touched();
    } catch {
      retry();
    }
  };
  const retry = (): void => {
    watcher?.close();
    watcher = undefined;
    cancelRetry();
    cancelRetry = clock.after(options.retryMilliseconds ?? 5000, () => start(true));
  };

  start(false);
  return () => {
    stopped = true;
    watcher?.close();
    cancelRetry();
    cancelDebounce();
  };
}
