import { constants, crc32, deflateRawSync, zstdCompressSync } from 'node:zlib';

/** Compresses a body piece by piece in the calling thread. */
export interface PieceEncoder {
  head(): Uint8Array;
  piece(bytes: Uint8Array): Uint8Array;
  tail(): Uint8Array;
}

const nothing = new Uint8Array(0);

/** The bytes as they are. */
export function identityEncoder(): PieceEncoder {
  return { head: () => nothing, piece: (bytes) => bytes, tail: () => nothing };
}

/**
 * gzip in the calling thread. The streams of node:zlib compress in threads of ordinary priority, which proxied traffic feels;
 * this one has the priority of its caller. Each piece ends at a flush, so that the pieces in a row are one
 * deflate stream (RFC 1951, 1952). The cheapest level already takes nine tenths off.
 */
export function gzipEncoder(): PieceEncoder {
  let checksum = 0;
  let length = 0;
  return {
    head: () => Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255),
    piece(bytes) {
      checksum = crc32(bytes, checksum);
      length = (length + bytes.length) >>> 0;
      return deflateRawSync(bytes, { level: 1, finishFlush: constants.Z_SYNC_FLUSH });
    },
    tail() {
      const end = new Uint8Array(10);
      // An empty last block.
      end[0] = 3;
      const view = new DataView(end.buffer);
      view.setUint32(2, checksum, true);
      view.setUint32(6, length, true);
      return end;
    },
  };
}

/** zstd in the calling thread: a frame per piece; frames in a row are one body (RFC 8878, 3.1). */
export function zstdEncoder(): PieceEncoder {
  return {
    head: () => nothing,
    piece: (bytes) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
    tail: () => nothing,
  };
}
