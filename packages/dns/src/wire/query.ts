/** Header length of every message. */
export const HEADER_BYTES = 12;

/** Response codes of this proxy's own answers (RFC 1035, RFC 6891). */
export const responseCode = {
  success: 0,
  formatError: 1,
  serverFailure: 2,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

/** Header flags, in the second 16-bit word. */
export const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  checkingDisabled: 0x0010,
} as const;

/** Record types with special handling. */
export const recordType = { a: 1, cname: 5, aaaa: 28, opt: 41, ixfr: 251, axfr: 252 } as const;

/** The OPT record of a query (RFC 6891). */
interface Edns {
  readonly payload: number;
  readonly version: number;
  /** The 16 flag bits, including DO. */
  readonly flags: number;
  /** Offset of the payload size in the message. */
  readonly payloadOffset: number;
}

/** A well-formed query. */
export interface Query {
  readonly id: number;
  readonly flags: number;
  /** Lower case, without the final dot; `undefined` for an impossible host name, such as one with a dot in a label. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  /** The question's name, type and class, as sent. */
  readonly question: Uint8Array;
  readonly edns: Edns | undefined;
}

/** Result of parsing: a query, a refusal with a response code, or no answer at all. */
type Parsed =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'refuse'; readonly code: number; readonly question: Uint8Array | undefined }
  | { readonly kind: 'drop' };

const DROP: Parsed = { kind: 'drop' };
const maximumNameBytes = 255;
/** Limit of records besides the question to search for an OPT record; a query has one or two. */
const maximumRecords = 16;

/**
 * Parses a query. Never throws, and reads only within `message`; `question` is a view of it. The work is bounded by the
 * length of the message.
 */
export function parseQuery(message: Uint8Array): Parsed {
  if (message.length < HEADER_BYTES) return DROP;
  const flags = word(message, 2);
  if ((flags & flag.response) !== 0) return refuse(responseCode.formatError);
  if ((flags & 0x7800) !== 0) return refuse(responseCode.notImplemented);
  if (word(message, 4) !== 1) return refuse(responseCode.formatError);
  const nameEnd = questionNameEnd(message);
  if (nameEnd < 0 || nameEnd + 4 > message.length) return refuse(responseCode.formatError);
  const question = message.subarray(HEADER_BYTES, nameEnd + 4);
  const edns = findEdns(message, nameEnd + 4);
  if (edns === 'malformed') return refuse(responseCode.formatError, question);
  const query: Query = {
    id: word(message, 0),
    flags,
    name: hostText(message, HEADER_BYTES, nameEnd),
    type: word(message, nameEnd),
    class: word(message, nameEnd + 2),
    question,
    edns,
  };
  return { kind: 'query', query };
}

/** Reads a 16-bit number; the caller has checked the length. */
export function word(message: Uint8Array, offset: number): number {
  return ((message[offset] as number) << 8) | (message[offset + 1] as number);
}

/** Writes a 16-bit number. */
export function putWord(message: Uint8Array, offset: number, value: number): void {
  message[offset] = (value >> 8) & 0xff;
  message[offset + 1] = value & 0xff;
}

/**
 * Returns the offset after a name that may end in a compression pointer, or -1 if it exceeds the message. Does not
 * follow pointers, so the work is bounded by the name's own length.
 */
export function skipName(message: Uint8Array, start: number): number {
  let offset = start;
  while (offset < message.length && offset - start < maximumNameBytes) {
    const length = message[offset] as number;
    if (length === 0) return offset + 1;
    if ((length & 0xc0) === 0xc0) return offset + 2 <= message.length ? offset + 2 : -1;
    if ((length & 0xc0) !== 0) return -1;
    offset += length + 1;
  }
  return -1;
}

function refuse(code: number, question?: Uint8Array): Parsed {
  return { kind: 'refuse', code, question };
}

/**
 * Returns the end of the question's name; a pointer is an error, because the first name has no earlier one to refer to.
 */
function questionNameEnd(message: Uint8Array): number {
  let offset = HEADER_BYTES;
  while (offset < message.length) {
    const length = message[offset] as number;
    if (length === 0) return offset + 1;
    if (length > 63) return -1;
    offset += length + 1;
    // Room for the root label within 255 bytes.
    if (offset - HEADER_BYTES >= maximumNameBytes) return -1;
  }
  return -1;
}

/** Byte of a host name → lower case; 0 for a byte that no name of the mesh has. */
const hostBytes = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  return /[\w-]/.test(text) ? text.toLowerCase().charCodeAt(0) : 0;
});
/** Shared: the text is copied out at once. */
const hostScratch = Buffer.alloc(maximumNameBytes);

/**
 * Returns a host name of letters, digits, hyphens and underscores; `undefined` for any other, which the mesh cannot
 * have.
 */
function hostText(message: Uint8Array, start: number, end: number): string | undefined {
  let dot = start;
  for (let offset = start; offset < end - 1; offset++) {
    if (offset === dot) {
      dot += (message[offset] as number) + 1;
      hostScratch[offset - start] = 0x2e;
      continue;
    }
    const byte = hostBytes[message[offset] as number] as number;
    if (byte === 0) return undefined;
    hostScratch[offset - start] = byte;
  }
  // The first byte is the length of the first label, not a dot.
  return end - 1 <= start ? '' : hostScratch.toString('latin1', 1, end - 1 - start);
}

function findEdns(message: Uint8Array, start: number): Edns | undefined | 'malformed' {
  const additional = word(message, 10);
  const records = word(message, 6) + word(message, 8) + additional;
  if (records > maximumRecords) return 'malformed';
  let found: Edns | undefined;
  let offset = start;
  for (let record = 0; record < records; record++) {
    const nameEnd = skipName(message, offset);
    if (nameEnd < 0 || nameEnd + 10 > message.length) return 'malformed';
    const next = nameEnd + 10 + word(message, nameEnd + 8);
    if (next > message.length) return 'malformed';
    if (word(message, nameEnd) === recordType.opt) {
      const isAdditional = record >= records - additional;
      if (found !== undefined || !isAdditional || nameEnd !== offset + 1) return 'malformed';
      found = {
        payload: word(message, nameEnd + 2),
        version: message[nameEnd + 5] as number,
        flags: word(message, nameEnd + 6),
        payloadOffset: nameEnd + 2,
      };
    }
    offset = next;
  }
  return found;
}
