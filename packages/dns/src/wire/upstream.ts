import { randomFillSync } from 'node:crypto';
import { flag, HEADER_BYTES, putWord, type Query, skipName, word } from './query.ts';

/** Payload size offered to a resolver: longer datagrams may be fragmented, and fragments can be forged. */
const upstreamPayload = 1_232;

/** A query as sent to one resolver. */
export interface UpstreamQuery {
  readonly message: Uint8Array;
  readonly id: number;
  /** The question with its name in random case; an answer must repeat it exactly. */
  readonly question: Uint8Array;
  /** Longest answer in one datagram, in bytes. */
  readonly payload: number;
}

/**
 * Builds the query for a resolver from a client's: a random id, the name in random case, and a payload size that avoids
 * fragmentation. Everything else, including options, is passed on.
 *
 * @param message the client's message that `query` was parsed from
 */
export function upstreamQuery(message: Uint8Array, query: Query): UpstreamQuery {
  const copy = new Uint8Array(message);
  const id = random32() & 0xffff;
  putWord(copy, 0, id);
  const question = copy.subarray(HEADER_BYTES, HEADER_BYTES + query.question.length);
  randomizeCase(question.subarray(0, -4));
  let payload = 512;
  if (query.edns !== undefined) {
    payload = Math.min(upstreamPayload, Math.max(512, query.edns.payload));
    putWord(copy, query.edns.payloadOffset, payload);
  }
  return { message: copy, id, question, payload };
}

/** Verdict about a message from a resolver. */
export type UpstreamVerdict =
  | 'accepted'
  /** The question differs only in case: the answer is forged, or the resolver does not preserve case. */
  | 'case'
  /** Not an answer to the query. */
  | 'mismatch'
  /** Its records exceed the message. */
  | 'malformed';

/** Validates a message from a resolver. Never throws; the work is bounded by the length of the message. */
export function judgeUpstream(message: Uint8Array, asked: UpstreamQuery): UpstreamVerdict {
  if (message.length < HEADER_BYTES || word(message, 0) !== asked.id) return 'mismatch';
  const flags = word(message, 2);
  if ((flags & flag.response) === 0 || (flags & 0x7800) !== 0) return 'mismatch';
  const questions = word(message, 4);
  // Refusals may omit the question.
  if (questions === 0 && (flags & 0xf) !== 0) return 'accepted';
  if (questions !== 1) return 'mismatch';
  const { question } = asked;
  if (message.length < HEADER_BYTES + question.length) return 'mismatch';
  let sameCase = true;
  for (let index = 0; index < question.length; index++) {
    const [theirs, ours] = [message[HEADER_BYTES + index] as number, question[index] as number];
    if (theirs === ours) continue;
    const inName = index < question.length - 4;
    if (!inName || lowered(theirs) !== lowered(ours)) return 'mismatch';
    sameCase = false;
  }
  if (!recordsFit(message, HEADER_BYTES + question.length)) return 'malformed';
  return sameCase ? 'accepted' : 'case';
}

/**
 * Turns a resolver's answer into the client's: the client's id and question, not authoritative, recursion available
 * (contract 12). Changes `message` and returns it, or a truncated copy if it is longer than `limit`.
 */
export function clientAnswer(message: Uint8Array, query: Query, limit: number): Uint8Array {
  putWord(message, 0, query.id);
  const kept = word(message, 2) & ~flag.authoritative;
  putWord(message, 2, kept | flag.response | flag.recursionAvailable);
  if (word(message, 4) === 1) message.set(query.question, HEADER_BYTES);
  if (message.length <= limit) return message;
  const short = message.slice(0, HEADER_BYTES + (word(message, 4) === 1 ? query.question.length : 0));
  short.fill(0, 6, HEADER_BYTES);
  putWord(short, 2, word(short, 2) | flag.truncated);
  return short;
}

function randomizeCase(name: Uint8Array): void {
  let bits = 0;
  let left = 0;
  for (let offset = 0; offset < name.length; ) {
    const length = name[offset] as number;
    for (let index = offset + 1; index <= offset + length; index++) {
      const byte = name[index] as number;
      const isLetter = lowered(byte) >= 0x61 && lowered(byte) <= 0x7a;
      if (!isLetter) continue;
      if (left === 0) {
        bits = random32();
        left = 32;
      }
      if ((bits & 1) !== 0) name[index] = byte ^ 0x20;
      bits >>>= 1;
      left--;
    }
    offset += length + 1;
  }
}

/** Random numbers of the system, fetched in bulk: one system call per number would dominate the cost. */
const randomPage = new Uint32Array(1_024);
let randomUsed = randomPage.length;

function random32(): number {
  if (randomUsed === randomPage.length) {
    randomFillSync(randomPage);
    randomUsed = 0;
  }
  return randomPage[randomUsed++] as number;
}

function lowered(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte;
}

function recordsFit(message: Uint8Array, start: number): boolean {
  const records = word(message, 6) + word(message, 8) + word(message, 10);
  let offset = start;
  for (let record = 0; record < records; record++) {
    const nameEnd = skipName(message, offset);
    if (nameEnd < 0 || nameEnd + 10 > message.length) return (word(message, 2) & flag.truncated) !== 0;
    offset = nameEnd + 10 + word(message, nameEnd + 8);
    if (offset > message.length) return (word(message, 2) & flag.truncated) !== 0;
  }
  return true;
}
