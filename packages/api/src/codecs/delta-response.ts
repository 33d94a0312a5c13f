import type protobuf from 'protobufjs/minimal.js';
import { KmeshError } from '../errors.ts';
import { TextReader } from './text-reader.ts';

/** Type and nonce of a response. */
export interface ResponseHeader {
  readonly typeUrl: string;
  readonly nonce: string;
}

/** A response cut into pieces. */
export interface SplitResponse {
  readonly header: ResponseHeader;
  /**
   * First the resources, then the names of removed resources, in order. Each piece is an encoded
   * `DeltaDiscoveryResponse` with whole fields and has its own memory.
   */
  readonly pieces: readonly Uint8Array<ArrayBuffer>[];
}

/** One resource of a response, its payload still encoded. */
export interface RawResource {
  readonly name: string;
  readonly version: string;
  readonly aliases: readonly string[];
  /** A view of the piece; `undefined` if there is no payload. */
  readonly payload: Buffer | undefined;
  /** Reason for which name or payload could not be read. */
  readonly damage: string | undefined;
}

/** The field numbers of `protos/discovery.proto`. */
const field = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;
const resourceField = { version: 1, payload: 2, name: 3, aliases: 4 } as const;
const anyField = { value: 2 } as const;
const lengthDelimited = 2;
const noNames: readonly string[] = [];

/**
 * Cuts an encoded `DeltaDiscoveryResponse` into pieces of about `pieceBytes`, without decoding its resources. A
 * resource that is longer than that is one piece. Blocks for the whole response: about 50 ms for 100,000 resources,
 * too long for the control thread.
 *
 * @throws KMESH_XDS_RESPONSE_MALFORMED if the bytes are not a response.
 */
export function splitResponse(bytes: Buffer, pieceBytes: number): SplitResponse {
  const reader = new TextReader(bytes);
  const header = { typeUrl: '', nonce: '' };
  const resources: Range[] = [];
  const removed: Range[] = [];
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const tag = reader.tag();
      const number = (tag & 7) === lengthDelimited ? tag >>> 3 : 0;
      if (number === field.typeUrl) header.typeUrl = reader.string();
      else if (number === field.nonce) header.nonce = reader.string();
      else reader.skipType(tag & 7);
      const ranges = number === field.resources ? resources : number === field.removed ? removed : undefined;
      if (ranges !== undefined) addRange(ranges, { start, end: reader.pos }, pieceBytes);
    }
  } catch (cause) {
    throw new KmeshError('KMESH_XDS_RESPONSE_MALFORMED', 'the response is not a delta discovery response', {
      cause,
    });
  }
  const pieces = [...resources, ...removed].map(({ start, end }) => {
    const piece = new Uint8Array(end - start);
    piece.set(bytes.subarray(start, end));
    return piece;
  });
  return { header, pieces };
}

/** Reads one piece: resources, and names of removed resources as text. */
export function* readPiece(piece: Uint8Array): Generator<RawResource | string> {
  const reader = new TextReader(Buffer.from(piece.buffer, piece.byteOffset, piece.length));
  while (reader.pos < reader.len) {
    const tag = reader.tag();
    const number = (tag & 7) === lengthDelimited ? tag >>> 3 : 0;
    if (number === field.removed) yield reader.string();
    else if (number === field.resources) {
      const end = reader.uint32() + reader.pos;
      yield readResource(reader, end);
      reader.pos = end;
    } else reader.skipType(tag & 7);
  }
}

/** A run of whole fields in a response. */
interface Range {
  readonly start: number;
  end: number;
}

function addRange(ranges: Range[], next: Range, pieceBytes: number): void {
  const last = ranges.at(-1);
  if (last?.end === next.start && next.end - last.start <= pieceBytes) last.end = next.end;
  else ranges.push(next);
}

function readResource(reader: protobuf.Reader, end: number): RawResource {
  let name = '';
  let version = '';
  let aliases: string[] | undefined;
  let payload: Buffer | undefined;
  const outerEnd = reader.len;
  reader.len = end;
  try {
    while (reader.pos < end) {
      const tag = reader.tag();
      const number = (tag & 7) === lengthDelimited ? tag >>> 3 : 0;
      if (number === resourceField.name) name = reader.string();
      else if (number === resourceField.version) version = reader.string();
      else if (number === resourceField.aliases) {
        aliases ??= [];
        aliases.push(reader.string());
      } else if (number === resourceField.payload) payload = readAnyValue(reader);
      else reader.skipType(tag & 7);
    }
    return { name, version, aliases: aliases ?? noNames, payload, damage: undefined };
  } catch (error) {
    const damage = `not a resource: ${error instanceof Error ? error.message : error}`;
    return { name, version, aliases: noNames, payload: undefined, damage };
  } finally {
    reader.len = outerEnd;
  }
}

/** Reads the value and ignores its type: the type of the response decides (docs/contract.md 3.3). */
function readAnyValue(reader: protobuf.Reader): Buffer {
  const end = reader.uint32() + reader.pos;
  if (end > reader.len) throw new RangeError('payload is cut off');
  const outerEnd = reader.len;
  reader.len = end;
  let value: Buffer | undefined;
  while (reader.pos < end) {
    const tag = reader.tag();
    if (tag === ((anyField.value << 3) | lengthDelimited)) value = reader.bytes() as Buffer;
    else reader.skipType(tag & 7);
  }
  reader.len = outerEnd;
  return value ?? Buffer.alloc(0);
}
