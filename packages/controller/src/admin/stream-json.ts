import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { Slicer } from '@kmesh/orchestration';
import { jsonPieces } from './json-pieces.ts';

const sliceMilliseconds = 2;
const restMilliseconds = 4;
const chunkCharacters = 64 * 1024;

/**
 * Writes a value as JSON of two spaces and ends the stream. Holds the event loop for a few milliseconds at a time, and no
 * more text than the reader takes: it waits for a slow one, and stops when the reader has gone.
 */
export async function streamJson(value: unknown, to: Writable): Promise<void> {
  const slicer = new Slicer(sliceMilliseconds, restMilliseconds);
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
