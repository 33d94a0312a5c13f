import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isKmeshError, KmeshError, type MeshUpdate } from '@kmesh/api';
import { type LocalMesh, localMeshUpdates, parseLocalMesh } from './local-mesh.ts';

/** Options of {@link watchLocalMesh}. */
interface LocalMeshWatchOptions {
  /** A file that changes again within this time is read once; 100 ms by default. */
  readonly debounceMilliseconds?: number;
  /** Interval of additional reads, for file systems where the kernel reports no changes; 5 s by default. */
  readonly pollMilliseconds?: number;
}

/** A watched local mesh file. */
export interface LocalMeshWatch extends AsyncDisposable {
  /** The last valid state. */
  readonly mesh: LocalMesh;
  /** Ends the watch; no callback runs after it has resolved. */
  close(): Promise<void>;
}

/**
 * Reads a local mesh file (contract 4), passes its content on as updates, and then the differences of every change.
 * Detects writes, renames over the file and swapped symbolic links (ConfigMaps). While the file is invalid or
 * unreadable, the last valid state stays, and `onError` is called once per cause.
 *
 * @throws {KmeshError} `KMESH_LOCAL_CONFIG_INVALID` or `KMESH_LOCAL_CONFIG_UNREADABLE` if the first read fails
 */
export async function watchLocalMesh(
  path: string,
  onUpdates: (updates: MeshUpdate[], mesh: LocalMesh) => void,
  onError: (error: KmeshError) => void,
  options: LocalMeshWatchOptions = {},
): Promise<LocalMeshWatch> {
  const text = await readText(path);
  const watcher = new LocalMeshWatcher(
    path,
    text,
    parseLocalMesh(text, path),
    { onUpdates, onError },
    options,
  );
  onUpdates(localMeshUpdates(undefined, watcher.mesh), watcher.mesh);
  return watcher;
}

interface Handlers {
  readonly onUpdates: (updates: MeshUpdate[], mesh: LocalMesh) => void;
  readonly onError: (error: KmeshError) => void;
}

class LocalMeshWatcher implements LocalMeshWatch {
  mesh: LocalMesh;
  readonly #path: string;
  readonly #handlers: Handlers;
  readonly #debounceMilliseconds: number;
  readonly #poll: NodeJS.Timeout;
  #directory: FSWatcher | undefined;
  #debounce: NodeJS.Timeout | undefined;
  #lastText: string;
  #lastError: string | undefined;
  #reading: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(
    path: string,
    text: string,
    mesh: LocalMesh,
    handlers: Handlers,
    options: LocalMeshWatchOptions,
  ) {
    this.#path = path;
    this.#lastText = text;
    this.mesh = mesh;
    this.#handlers = handlers;
    this.#debounceMilliseconds = options.debounceMilliseconds ?? 100;
    // The directory, not the file: after a rename or a swapped link, a watch on the file would stay on the old file.
    this.#directory = watchDirectory(dirname(path), () => this.#schedule());
    this.#poll = setInterval(() => this.#schedule(), options.pollMilliseconds ?? 5_000);
    this.#poll.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#debounce);
    this.#directory?.close();
    this.#directory = undefined;
    await this.#reading;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #schedule(): void {
    if (this.#closed) return;
    clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => {
      this.#reading = this.#reading.then(() => this.#reload());
    }, this.#debounceMilliseconds);
  }

  async #reload(): Promise<void> {
    let text: string;
    try {
      text = await readText(this.#path);
    } catch (error) {
      if (isKmeshError(error)) this.#report(error);
      return;
    }
    if (this.#closed) return;
    const unchanged = text === this.#lastText;
    this.#lastText = text;
    // An unchanged text after a failed read only means that the file is readable again.
    if (unchanged) {
      if (this.#lastError?.startsWith('KMESH_LOCAL_CONFIG_UNREADABLE')) this.#lastError = undefined;
      return;
    }
    let mesh: LocalMesh;
    try {
      mesh = parseLocalMesh(text, this.#path);
    } catch (error) {
      this.#report(asKmeshError(error, this.#path));
      return;
    }
    this.#lastError = undefined;
    const updates = localMeshUpdates(this.mesh, mesh);
    this.mesh = mesh;
    if (updates.length > 0) this.#handlers.onUpdates(updates, mesh);
  }

  #report(error: KmeshError): void {
    const cause = `${error.code} ${error.message}`;
    if (this.#closed || cause === this.#lastError) return;
    this.#lastError = cause;
    this.#handlers.onError(error);
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KmeshError(
      'KMESH_LOCAL_CONFIG_UNREADABLE',
      `The local mesh file ${path} cannot be read (${reason}); check LOCAL_XDS_PATH and the file's permissions.`,
      { cause },
    );
  }
}

/** Watches a directory. The kernel may refuse a watch (limits, file system); polling continues without it. */
function watchDirectory(directory: string, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, onChange);
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}

function asKmeshError(error: unknown, path: string): KmeshError {
  if (isKmeshError(error)) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new KmeshError(
    'KMESH_LOCAL_CONFIG_INVALID',
    `The local mesh file ${path} is not valid: ${message}`,
    {
      cause: error,
    },
  );
}
