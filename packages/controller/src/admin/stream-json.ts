import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { Slicer } from '@kmesh/orchestration';
import { jsonPieces } from './json-pieces.ts';

const chunkCharacters = 64 * 1024;

/** Work for a page may hold the event loop for 2 ms, then rests for 4 ms, in which the engine can collect what it left. */
export function slicerForPages(): Slicer {
  return new Slicer(2, 4);
}

/**
 * Writes a value as JSON of two spaces and ends the stream. Holds the event loop for a few milliseconds at a time, and no
 * more text than the reader takes: it waits for a slow one, and stops when the reader has gone.
 */
export async function streamJson(value: unknown, to: Writable): Promise<void> {
  const slicer = slicerForPages();
  let chunk = '';
  for (const piece of jsonPieces(value)) {
    chunk += piece;
    if (chunk.length >= chunkCharacters) {
      await write(to, chunk);
      chunk = '';
    }
    if (to.destroyed) return;
    if (slicer.due) await slicer.pause();
  }
  to.end(`${chunk}\n`);
}

async function write(to: Writable, chunk: string): Promise<void> {
  if (to.write(chunk) || to.destroyed) return;
  const gone = new AbortController();
  const { signal } = gone;
  try {
    await Promise.race([once(to, 'drain', { signal }), once(to, 'close', { signal })]);
  } finally {
    gone.abort();
  }
}
