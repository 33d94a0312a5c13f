import { isIPv4 } from 'node:net';
import { flag, HEADER_BYTES, putWord, type Query, recordType, responseCode, word } from './query.ts';

/** Lifetime of local answers in seconds (contract 12). */
const TIME_TO_LIVE = 30;
const minimumPayload = 512;
/** Longest answer over UDP, even if the client offers more. */
export const maximumUdpBytes = 4_096;
/** Longest message over TCP. */
export const maximumTcpBytes = 65_535;
const optBytes = 11;
const addressRecordBytes = { 4: 16, 16: 28 } as const;

/** Addresses of one family in network order, back to back. */
export interface PackedAddresses {
  readonly bytes: Uint8Array;
  /** Bytes per address: 4 or 16. */
  readonly width: 4 | 16;
}

/** Converts text addresses of one family to network order. */
export function packAddresses(addresses: readonly string[], width: 4 | 16): PackedAddresses {
  const bytes = new Uint8Array(addresses.length * width);
  addresses.forEach((text, index) => {
    bytes.set(width === 4 ? ipv4Bytes(text) : ipv6Bytes(text), index * width);
  });
  return { bytes, width };
}

/** Returns the longest answer over UDP for this client, in bytes. */
export function udpLimit(query: Query): number {
  return Math.min(maximumUdpBytes, Math.max(minimumPayload, query.edns?.payload ?? 0));
}

/** Contents of an answer from the mesh. */
interface AnswerContents {
  readonly query: Query;
  readonly addresses: PackedAddresses;
  /** Number of leading labels of the question that form the CNAME target; `undefined` for no CNAME. */
  readonly cnameLabels: number | undefined;
  /** Longest answer in bytes; records that do not fit are left out, and the answer is marked truncated. */
  readonly limit: number;
}

/**
 * Writes an authoritative answer into `into` at `at`, with the addresses in random order, and returns its length.
 * `into` must have room for `limit` bytes.
 */
export function writeAnswer(into: Uint8Array, at: number, contents: AnswerContents): number {
  const { query, addresses, cnameLabels, limit } = contents;
  const end = at + limit - (query.edns === undefined ? 0 : optBytes);
  let offset = writeHeader(into, at, query, responseCode.success, flag.authoritative);
  let owner = HEADER_BYTES;
  let answers = 0;
  if (cnameLabels !== undefined) {
    const kept = keptNameBytes(query.question, cnameLabels);
    if (offset + addressRecordBytes[4] + kept > end) {
      markTruncated(into, at);
      return writeEdns(into, offset, at, query, 0) - at;
    }
    offset = writeRecordHead(into, offset, HEADER_BYTES, recordType.cname, kept + 1);
    owner = offset - at;
    into.set(query.question.subarray(0, kept), offset);
    into[offset + kept] = 0;
    offset += kept + 1;
    answers++;
  }
  const { width, bytes } = addresses;
  const count = bytes.length / width;
  const room = Math.max(0, Math.floor((end - offset) / addressRecordBytes[width]));
  const order = shuffled(count);
  const type = width === 4 ? recordType.a : recordType.aaaa;
  for (let index = 0; index < Math.min(count, room); index++) {
    offset = writeRecordHead(into, offset, owner, type, width);
    const from = (order[index] as number) * width;
    for (let byte = 0; byte < width; byte++) into[offset + byte] = bytes[from + byte] as number;
    offset += width;
    answers++;
  }
  putWord(into, at + 6, answers);
  if (count > room) markTruncated(into, at);
  return writeEdns(into, offset, at, query, 0) - at;
}

/** Writes an answer without records, with one of {@link responseCode}, and returns its length. */
export function writeRefusal(into: Uint8Array, at: number, query: Query, code: number): number {
  const offset = writeHeader(into, at, query, code & 0xf, 0);
  return writeEdns(into, offset, at, query, code >> 4) - at;
}

/**
 * Writes the answer to an unparsable message: its id, opcode and RD bit, the response code, and the question if known.
 */
export function writeFormatRefusal(
  into: Uint8Array,
  at: number,
  message: Uint8Array,
  refusal: { readonly code: number; readonly question: Uint8Array | undefined },
): number {
  const { code, question } = refusal;
  into.fill(0, at, at + HEADER_BYTES);
  putWord(into, at, word(message, 0));
  const kept = word(message, 2) & (0x7800 | flag.recursionDesired);
  putWord(into, at + 2, flag.response | flag.recursionAvailable | kept | code);
  if (question === undefined) return HEADER_BYTES;
  putWord(into, at + 4, 1);
  into.set(question, at + HEADER_BYTES);
  return HEADER_BYTES + question.length;
}

function writeHeader(into: Uint8Array, at: number, query: Query, code: number, more: number): number {
  const kept = query.flags & (flag.recursionDesired | flag.checkingDisabled);
  putWord(into, at, query.id);
  putWord(into, at + 2, flag.response | flag.recursionAvailable | kept | more | code);
  putWord(into, at + 4, 1);
  putWord(into, at + 6, 0);
  putWord(into, at + 8, 0);
  putWord(into, at + 10, 0);
  into.set(query.question, at + HEADER_BYTES);
  return at + HEADER_BYTES + query.question.length;
}

/** Writes name (as a pointer), type, class IN, lifetime and length of a record. */
function writeRecordHead(
  into: Uint8Array,
  offset: number,
  owner: number,
  type: number,
  length: number,
): number {
  putWord(into, offset, 0xc000 | owner);
  putWord(into, offset + 2, type);
  putWord(into, offset + 4, 1);
  putWord(into, offset + 6, 0);
  putWord(into, offset + 8, TIME_TO_LIVE);
  putWord(into, offset + 10, length);
  return offset + 12;
}

function writeEdns(into: Uint8Array, offset: number, at: number, query: Query, extendedCode: number): number {
  const { edns } = query;
  if (edns === undefined) return offset;
  into[offset] = 0;
  putWord(into, offset + 1, recordType.opt);
  putWord(into, offset + 3, Math.max(minimumPayload, edns.payload));
  into[offset + 5] = extendedCode;
  into[offset + 6] = 0;
  putWord(into, offset + 7, edns.flags);
  putWord(into, offset + 9, 0);
  putWord(into, at + 10, 1);
  return offset + optBytes;
}

function markTruncated(into: Uint8Array, at: number): void {
  putWord(into, at + 2, word(into, at + 2) | flag.truncated);
}

/** Returns the length of the first labels of a name. */
function keptNameBytes(question: Uint8Array, labels: number): number {
  let offset = 0;
  for (let label = 0; label < labels; label++) offset += (question[offset] as number) + 1;
  return offset;
}

const onlyOne = new Uint32Array(1);

function shuffled(count: number): Uint32Array {
  if (count === 1) return onlyOne;
  const order = new Uint32Array(count);
  for (let index = 0; index < count; index++) {
    const other = Math.floor(Math.random() * (index + 1));
    order[index] = order[other] as number;
    order[other] = index;
  }
  return order;
}

function ipv4Bytes(text: string): number[] {
  return text.split('.').map(Number);
}

function ipv6Bytes(text: string): number[] {
  const [head = '', tail] = text.split('::');
  const first = groupsOf(head);
  const last = tail === undefined ? [] : groupsOf(tail);
  const zeros = new Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0);
  return [...first, ...zeros, ...last].flatMap((group) => [group >> 8, group & 0xff]);
}

function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!isIPv4(group)) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(group);
    return [(a << 8) | b, (c << 8) | d];
  });
}
