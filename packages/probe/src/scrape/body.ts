import { once } from 'node:events';
import type { Writable } from 'node:stream';
import {
  constants,
  crc32,
  createBrotliCompress,
  createDeflate,
  deflateRawSync,
  zstdCompressSync,
} from 'node:zlib';
import { renderStore } from '../metrics/render.ts';
import type { MetricStore } from '../metrics/store.ts';

type ContentEncoding = 'identity' | 'gzip' | 'zstd' | 'br' | 'deflate';

const plainContentType = 'text/plain; charset=utf-8';
const openMetricsContentType = 'application/openmetrics-text;charset=utf-8;version=1.0.0';

/**
 * Returns OpenMetrics if any entry of `Accept` requests it, else plain text (ambient contract 15.1). The body is the
 * same.
 */
export function contentType(accept: string | undefined): string {
  const asked = (accept ?? '')
    .split(',')
    .some((entry) => entry.split(';')[0]?.trim().toLowerCase() === 'application/openmetrics-text');
  return asked ? openMetricsContentType : plainContentType;
}

/** Encodings in our order of preference, used if the client has none. */
const preferred: readonly ContentEncoding[] = ['zstd', 'gzip', 'br', 'deflate'];

/** Returns the client's preferred encoding among the supported ones; `identity` when it names none of them. */
export function contentEncoding(acceptEncoding: string | undefined): ContentEncoding {
  const weights = new Map<string, number>();
  for (const entry of (acceptEncoding ?? '').toLowerCase().split(',')) {
    const [name, ...parameters] = entry.split(';').map((part) => part.trim());
    const quality = parameters.find((parameter) => parameter.startsWith('q='));
    const weight = quality === undefined ? 1 : Number(quality.slice(2));
    if (name) weights.set(name, Number.isFinite(weight) ? weight : 0);
  }
  let best: ContentEncoding = 'identity';
  let bestWeight = 0;
  for (const encoding of preferred) {
    const weight = weights.get(encoding) ?? (weights.get('*') ?? 0) / 2;
    if (weight > bestWeight) {
      best = encoding;
      bestWeight = weight;
    }
  }
  return best;
}

/**
 * Writes one whole exposition to `out`: the chunks of the store, then the texts of the registries, then the end marker.
 * Memory is independent of the number of series: each chunk is written before the next is made.
 */
export async function writeExposition(
  out: Writable,
  encoding: ContentEncoding,
  store: MetricStore,
  texts: readonly string[],
): Promise<void> {
  const chunks = expositionChunks(store, texts);
  let target = out;
  if (encoding === 'gzip') await writeGzip(out, chunks);
  else if (encoding === 'zstd') await writeZstd(out, chunks);
  else {
    const transform = compressor(encoding);
    transform?.pipe(out);
    target = transform ?? out;
    for (const chunk of chunks) await written(target, chunk, out);
  }
  target.end();
  if (!out.writableFinished) await once(out, 'finish');
}

function* expositionChunks(store: MetricStore, texts: readonly string[]): Generator<Uint8Array> {
  yield* renderStore(store);
  yield Buffer.from([...texts, '# EOF\n'].join(''));
}

/** No name, time or operating system (RFC 1952, 2.3). */
const gzipHeader = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
/** An empty last block with fixed codes. */
const gzipLastBlock = Uint8Array.of(3, 0);
/** So large that a compressed chunk has its memory to itself and can be freed, see {@link writeCompressed}. */
const chunkSize = Buffer.poolSize / 2;
const gzipOptions = { level: 1, finishFlush: constants.Z_SYNC_FLUSH, chunkSize };
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize };

/**
 * Writes one gzip member, compressed chunk by chunk in the calling thread: zlib's streams would use threads of the
 * pool, which do not have the scrape thread's low priority. Each chunk's blocks end at a whole byte and refer to no
 * other chunk.
 */
async function writeGzip(out: Writable, chunks: Iterable<Uint8Array>): Promise<void> {
  let checksum = 0;
  let length = 0;
  await written(out, gzipHeader, out);
  await writeCompressed(out, chunks, (chunk) => {
    checksum = crc32(chunk, checksum);
    length += chunk.length;
    return deflateRawSync(chunk, gzipOptions);
  });
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(length % 2 ** 32, 4);
  await written(out, Buffer.concat([gzipLastBlock, trailer]), out);
}

/** Writes one frame for each chunk, compressed in the calling thread; frames are one body (RFC 8878, 3.1). */
function writeZstd(out: Writable, chunks: Iterable<Uint8Array>): Promise<void> {
  return writeCompressed(out, chunks, (chunk) => zstdCompressSync(chunk, zstdOptions));
}

/**
 * Writes chunks, compressed one by one, and frees the memory of what is sent. If that were left to V8, every third
 * scrape of 100,000 series would start a full garbage collection, in V8's threads, which do not have the scrape
 * thread's low priority.
 */
async function writeCompressed(
  out: Writable,
  chunks: Iterable<Uint8Array>,
  compress: (chunk: Uint8Array) => Buffer<ArrayBuffer>,
): Promise<void> {
  for (const chunk of chunks) {
    const piece = compress(chunk);
    await written(out, piece, out);
    piece.buffer.transfer(0);
  }
}

/** Creates a stream for encodings that are not composed of pieces; scrapers rarely request them. */
function compressor(encoding: ContentEncoding) {
  if (encoding === 'deflate') return createDeflate({ level: 1 });
  if (encoding === 'br') return createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
  return undefined;
}

/** Resolves when the piece's bytes are no longer needed; rejects when the client has gone. */
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
