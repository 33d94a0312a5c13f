import type protobuf from 'protobufjs/minimal.js';
import { KmeshError } from '../errors.ts';
import { TextReader } from './text-reader.ts';

/** A response without its resources. */
export interface ResponseHeader {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resourceCount: number;
  /** Names that are gone, in order. */
  readonly removed: readonly string[];
}

/** One resource of a response, its payload still encoded. */
export interface RawResource {
  readonly name: string;
  readonly version: string;
  readonly aliases: readonly string[];
  /** A view of the response; `undefined` when there is no payload. */
  readonly payload: Buffer | undefined;
  /** Why name or payload could not be read. */
  readonly damage: string | undefined;
}

/**
 * Reads a `DeltaDiscoveryResponse` piece by piece, so that a response of 100,000 resources can be worked off in slices
 * without ever being decoded as a whole. The numbers are those of `protos/discovery.proto`.
 */
const field = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;
const resourceField = { version: 1, payload: 2, name: 3, aliases: 4 } as const;
const anyField = { value: 2 } as const;
const lengthDelimited = 2;
const noNames: readonly string[] = [];

/**
 * The header, after a walk over the whole message that also proves its outer structure. A generator because the walk
 * itself is long: it yields `undefined` now and then, as a place to pause, and returns the header.
 *
 * @throws KMESH_XDS_RESPONSE_MALFORMED when the bytes are not a response.
 */
export function* readResponseHeader(bytes: Buffer): Generator<undefined, ResponseHeader> {
  const reader = new TextReader(bytes);
  const header = { typeUrl: '', nonce: '', resourceCount: 0, removed: [] as string[] };
  let steps = 0;
  try {
    while (reader.pos < reader.len) {
      const tag = reader.tag();
      const isText = (tag & 7) === lengthDelimited;
      const number = tag >>> 3;
      if (isText && number === field.typeUrl) header.typeUrl = reader.string();
      else if (isText && number === field.nonce) header.nonce = reader.string();
      else if (isText && number === field.removed) header.removed.push(reader.string());
      else reader.skipType(tag & 7);
      if (isText && number === field.resources) header.resourceCount++;
      if (++steps % 512 === 0) yield undefined;
    }
  } catch (cause) {
    throw new KmeshError('KMESH_XDS_RESPONSE_MALFORMED', 'the response is not a delta discovery response', {
      cause,
    });
  }
  return header;
}

/** Reads the resources of a response one by one. Only for bytes that {@link readResponseHeader} accepted. */
export class ResponseResources {
  #reader: TextReader;

  constructor(bytes: Buffer) {
    this.#reader = new TextReader(bytes);
  }

  /** The next resource, or `undefined` after the last one. */
  next(): RawResource | undefined {
    const reader = this.#reader;
    while (reader.pos < reader.len) {
      const tag = reader.tag();
      if (tag >>> 3 !== field.resources || (tag & 7) !== lengthDelimited) {
        reader.skipType(tag & 7);
        continue;
      }
      const end = reader.uint32() + reader.pos;
      const resource = readResource(reader, end);
      reader.pos = end;
      return resource;
    }
    return undefined;
  }

  /** How many bytes have been read. */
  get position(): number {
    return this.#reader.pos;
  }

  /** Goes on in a copy of what has not been read. */
  continueIn(rest: Buffer): void {
    this.#reader = new TextReader(rest);
  }
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

/** The type inside is not looked at: the type of the response decides (docs/contract.md 3.3). */
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
