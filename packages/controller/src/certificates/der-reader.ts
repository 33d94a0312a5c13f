/** One element of DER: tag, content, and the whole with tag and length. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  readonly raw: Buffer;
}

/**
 * The elements that follow one another in `bytes`, views of it.
 *
 * @throws RangeError when they do not fill it exactly, or a length is indefinite.
 */
export function readDer(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const tag = bytes.readUInt8(offset);
    const short = bytes.readUInt8(offset + 1);
    const digits = short < 0x80 ? 0 : short & 0x7f;
    if (short === 0x80 || digits > 4) throw new RangeError('a DER length is indefinite or too large');
    const length = digits === 0 ? short : bytes.readUIntBE(offset + 2, digits);
    const start = offset + 2 + digits;
    const end = start + length;
    if (end > bytes.length) throw new RangeError('a DER element is longer than what contains it');
    elements.push({ tag, content: bytes.subarray(start, end), raw: bytes.subarray(offset, end) });
    offset = end;
  }
  return elements;
}

/** The single element of `bytes`, which must have this tag. */
export function readOne(bytes: Buffer, tag: number): DerElement {
  const [element, ...rest] = readDer(bytes);
  if (element === undefined || rest.length > 0 || element.tag !== tag) {
    throw new RangeError(`expected one DER element with tag ${tag}`);
  }
  return element;
}

/** Milliseconds since 1970 of a UTCTime (0x17) or GeneralizedTime (0x18). */
export function readTime(element: DerElement): number {
  const text = element.content.toString('latin1');
  const digits = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (digits === null) throw new RangeError('a DER time is malformed');
  const [, written = '', month = '', day = '', hours = '', minutes = '', seconds = ''] = digits;
  const century = written.length === 4 ? '' : Number(written) < 50 ? '20' : '19';
  return Date.parse(`${century}${written}-${month}-${day}T${hours}:${minutes}:${seconds}Z`);
}
