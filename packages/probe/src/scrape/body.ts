import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { constants, createBrotliCompress, createDeflate, createGzip, createZstdCompress } from 'node:zlib';
import { renderStore } from '../metrics/render.ts';
import type { MetricStore } from '../metrics/store.ts';
import type { ContentEncoding } from './negotiate.ts';

/** Metrics change little per byte: the cheapest level already takes nine tenths off. */
const quick = { level: 1, chunkSize: 256 * 1024 };

function compressor(encoding: ContentEncoding) {
  if (encoding === 'gzip') return createGzip(quick);
  if (encoding === 'deflate') return createDeflate(quick);
  if (encoding === 'br') return createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
  if (encoding === 'zstd') return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  return undefined;
}

/**
 * Writes one whole exposition to `out`: the hot families piece by piece, then the texts of the registries, then the end marker.
 * Memory stays the same however many series there are: each piece is written before the next is made.
 */
export async function writeExposition(
  out: Writable,
  encoding: ContentEncoding,
  store: MetricStore,
  texts: readonly string[],
): Promise<void> {
  const transform = compressor(encoding);
  const target: Writable = transform ?? out;
  transform?.pipe(out);
  for (const piece of renderStore(store)) await written(target, piece, out);
  for (const text of texts) if (text !== '') await written(target, Buffer.from(text), out);
  await written(target, Buffer.from('# EOF\n'), out);
  target.end();
  if (!out.writableFinished) await once(out, 'finish');
}

/** Resolves when the piece's bytes are no longer needed; fails when the client has gone. */
function written(target: Writable, piece: Uint8Array, out: Writable): Promise<void> {
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
