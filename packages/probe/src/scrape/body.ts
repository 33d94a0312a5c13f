import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { constants, createBrotliCompress, createDeflate, zstdCompressSync } from 'node:zlib';
import { createPauses } from '../metrics/pause.ts';
import { renderStore } from '../metrics/render.ts';
import type { MetricStore } from '../metrics/store.ts';
import type { GzipExposition } from './gzip/gzip-exposition.ts';
import type { ContentEncoding } from './negotiate.ts';

/**
 * Writes one whole exposition to `out`: the hot families piece by piece, then the texts of the registries, then the end marker.
 * Memory stays the same however many series there are: each piece is written before the next is made.
 */
export async function writeExposition(
  out: Writable,
  encoding: ContentEncoding,
  store: MetricStore,
  gzip: GzipExposition,
  texts: readonly string[],
): Promise<void> {
  const pause = createPauses();
  const end = [...texts, '# EOF\n'];
  if (encoding === 'gzip') {
    for (const piece of gzip.pieces(end, pause)) await written(out, piece, out);
    out.end();
    if (!out.writableFinished) await once(out, 'finish');
    return;
  }
  const transform = compressor(encoding);
  const target: Writable = transform ?? out;
  transform?.pipe(out);
  const encode = encoding === 'zstd' ? zstdFrame : (piece: Uint8Array) => piece;
  for (const piece of renderStore(store, pause)) await written(target, encode(piece), out);
  await written(target, encode(Buffer.from(end.join(''))), out);
  target.end();
  if (!out.writableFinished) await once(out, 'finish');
}

/** A frame per piece, in the calling thread: frames in a row are one body (RFC 8878, 3.1). */
function zstdFrame(piece: Uint8Array): Uint8Array {
  return zstdCompressSync(piece, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

/** Encodings that are not put together from pieces; scrapers hardly ever ask for them. */
function compressor(encoding: ContentEncoding) {
  if (encoding === 'deflate') return createDeflate({ level: 1 });
  if (encoding === 'br') return createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
  return undefined;
}

/** Resolves when the piece's bytes are no longer needed; fails when the client has gone. */
function written(target: Writable, piece: Uint8Array, out: Writable): Promise<void> {
  if (piece.length === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    if (out.destroyed) {
      reject(new Error('the client closed the connection'));
      return;
    }
    const gone = () => reject(new Error('the client closed the connection'));
    out.once('close', gone);
    target.write(piece, (error) => {
      out.off('close', gone);
      if (error) reject(error);
      else resolve();
    });
  });
}
