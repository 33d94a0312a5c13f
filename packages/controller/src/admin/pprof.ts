import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

/** A function on a stack. */
export interface ProfileFrame {
  readonly name: string;
  readonly file: string;
  /** From 1; 0 when it is not known. */
  readonly line: number;
}

/** One stack, innermost frame first, with a value for each of the profile's types. */
export interface ProfileSample {
  readonly stack: readonly ProfileFrame[];
  readonly values: readonly number[];
}

/** What a profile measures, such as `cpu` in `nanoseconds`. */
interface ProfileValueType {
  readonly type: string;
  readonly unit: string;
}

interface Profile {
  readonly types: readonly ProfileValueType[];
  readonly samples: readonly ProfileSample[];
  readonly period: ProfileValueType & { readonly value: number };
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  readonly durationNanoseconds: number;
}

/** A profile in pprof's form: its `Profile` message, gzipped. */
export async function encodePprof(profile: Profile): Promise<Buffer> {
  return await promisify(gzip)(profileMessage(profile));
}

/** Field numbers are those of pprof's profile.proto. */
function profileMessage(profile: Profile): Uint8Array {
  const strings = new Table<string>((text) => text, ['']);
  const functions = new Table<ProfileFrame>(({ name, file }) => `${name}\0${file}`);
  const locations = new Table<ProfileFrame>(({ name, file, line }) => `${name}\0${file}\0${line}`);
  const message = new Message();
  const valueType = ({ type, unit }: ProfileValueType): Message =>
    new Message().integer(1, strings.index(type)).integer(2, strings.index(unit));
  for (const type of profile.types) message.nested(1, valueType(type));
  for (const { stack, values } of profile.samples) {
    // Ids begin with 1.
    const ids = stack.map((frame) => locations.index(frame) + 1);
    message.nested(2, new Message().packed(1, ids).packed(2, values));
  }
  for (const [index, frame] of locations.items.entries()) {
    const line = new Message().integer(1, functions.index(frame) + 1).integer(2, frame.line);
    message.nested(4, new Message().integer(1, index + 1).nested(4, line));
  }
  for (const [index, { name, file }] of functions.items.entries()) {
    const entry = new Message().integer(1, index + 1).integer(2, strings.index(name));
    message.nested(5, entry.integer(3, strings.index(name)).integer(4, strings.index(file)));
  }
  message.integer(9, profile.takenAt * 1_000_000).integer(10, profile.durationNanoseconds);
  message.nested(11, valueType(profile.period)).integer(12, profile.period.value);
  for (const text of strings.items) message.text(6, text);
  return message.bytes();
}

/** Gives each different item an index, in the order of their first use. */
class Table<Item> {
  readonly items: Item[];
  readonly #keyOf: (item: Item) => string;
  readonly #indexes = new Map<string, number>();

  constructor(keyOf: (item: Item) => string, first: Item[] = []) {
    this.#keyOf = keyOf;
    this.items = [];
    for (const item of first) this.index(item);
  }

  index(item: Item): number {
    const key = this.#keyOf(item);
    let index = this.#indexes.get(key);
    if (index === undefined) {
      index = this.items.push(item) - 1;
      this.#indexes.set(key, index);
    }
    return index;
  }
}

/** A protobuf message under construction. */
class Message {
  readonly #bytes: number[] = [];

  integer(field: number, value: number): this {
    this.#varint(field << 3);
    this.#varint(value);
    return this;
  }

  text(field: number, value: string): this {
    return this.#block(field, Buffer.from(value));
  }

  packed(field: number, values: readonly number[]): this {
    const inner = new Message();
    for (const value of values) inner.#varint(value);
    return this.#block(field, inner.#bytes);
  }

  nested(field: number, message: Message): this {
    return this.#block(field, message.#bytes);
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #block(field: number, bytes: Iterable<number> & { readonly length: number }): this {
    this.#varint((field << 3) | 2);
    this.#varint(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  /** Beyond 32 bits too: times in nanoseconds are. */
  #varint(value: number): void {
    let rest = Math.max(0, Math.round(value));
    while (rest >= 0x80) {
      this.#bytes.push((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes.push(rest);
  }
}
