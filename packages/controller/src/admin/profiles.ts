import type { HeapProfiler, Profiler, Runtime } from 'node:inspector';
import { Session } from 'node:inspector/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { KmeshError } from '@kmesh/api';
import { badQuery } from './guard.ts';

const heapIntervalBytes = 128 * 1024;
const profilePaths = ['/debug/pprof/profile', '/debug/pprof/heap', '/debug/pprof/heap/profiling'] as const;

/** An answer of the profile routes: a pprof file, or a line of text. */
export type ProfileAnswer = Buffer | string;

/**
 * Takes profiles of the control thread (ambient contract 13.1), without the native data threads. One profile is taken at
 * a time.
 */
export class Profiles {
  #running = false;
  #heap: Session | undefined;

  /**
   * Returns the answer for a path, or `undefined` when it is not a path of profiles.
   *
   * @throws KMESH_QUESTION for a parameter that is not allowed; KMESH_PROFILE when no profile is available now
   */
  answer(path: string, query: URLSearchParams, post: boolean): Promise<ProfileAnswer> | undefined {
    switch (profilePaths.find((known) => known === path)) {
      case '/debug/pprof/profile':
        return this.#processor(query);
      case '/debug/pprof/heap':
        return this.#memory(query.get('gc'));
      case '/debug/pprof/heap/profiling':
        return this.#memoryProfiling(query.get('activate'), post);
      case undefined:
        return undefined;
    }
  }

  async #processor(query: URLSearchParams): Promise<Buffer> {
    const seconds = integerParameter(query, 'seconds', 10, 300);
    const frequency = integerParameter(query, 'frequency', 100, 1_000);
    if (this.#running) {
      throw new KmeshError('KMESH_PROFILE', 'another profile is being taken; retry when it is done');
    }
    this.#running = true;
    const session = new Session();
    session.connect();
    try {
      const interval = Math.round(1_000_000 / frequency);
      await session.post('Profiler.enable');
      await session.post('Profiler.setSamplingInterval', { interval });
      await session.post('Profiler.start');
      const takenAt = Date.now();
      await delay(seconds * 1000);
      const { profile } = await session.post('Profiler.stop');
      return await encodePprof({
        types: [
          { type: 'samples', unit: 'count' },
          { type: 'cpu', unit: 'nanoseconds' },
        ],
        samples: processorSamples(profile, interval * 1000),
        period: { type: 'cpu', unit: 'nanoseconds', value: interval * 1000 },
        takenAt,
        durationNanoseconds: (profile.endTime - profile.startTime) * 1000,
      });
    } finally {
      session.disconnect();
      this.#running = false;
    }
  }

  async #memory(collect: string | null): Promise<Buffer> {
    if (collect !== null && collect !== '1' && collect !== '0') {
      throw badQuery(`gc "${collect}" is not allowed: 1 (collect garbage first) or 0 is`);
    }
    if (this.#heap === undefined) {
      throw new KmeshError(
        'KMESH_PROFILE',
        'heap profiling is not active; POST /debug/pprof/heap/profiling?activate=true starts it',
      );
    }
    if (collect === '1') await this.#heap.post('HeapProfiler.collectGarbage');
    const { profile } = await this.#heap.post('HeapProfiler.getSamplingProfile');
    return await encodePprof({
      types: [{ type: 'inuse_space', unit: 'bytes' }],
      samples: memorySamples(profile.head),
      period: { type: 'space', unit: 'bytes', value: heapIntervalBytes },
      takenAt: Date.now(),
      durationNanoseconds: 0,
    });
  }

  async #memoryProfiling(activate: string | null, post: boolean): Promise<string> {
    if (activate !== null && !post) throw badQuery('use POST to activate or stop heap profiling');
    if (activate === 'true' && this.#heap === undefined) {
      const session = new Session();
      session.connect();
      this.#heap = session;
      await session.post('HeapProfiler.startSampling', { samplingInterval: heapIntervalBytes });
    } else if (activate === 'false' && this.#heap !== undefined) {
      const session = this.#heap;
      this.#heap = undefined;
      await session.post('HeapProfiler.stopSampling');
      session.disconnect();
    } else if (activate !== null && activate !== 'true' && activate !== 'false') {
      throw badQuery(`activate "${activate}" is not allowed: true or false is`);
    }
    return `heap profiling is ${this.#heap === undefined ? 'inactive' : 'active'}\n`;
  }
}

function integerParameter(query: URLSearchParams, name: string, standard: number, most: number): number {
  const text = query.get(name);
  if (text === null) return standard;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > most) {
    throw badQuery(`${name} "${text}" is not allowed: 1 to ${most} is`);
  }
  return value;
}

function processorSamples(profile: Profiler.Profile, nanosecondsEach: number): ProfileSample[] {
  const parents = new Map<number, number>();
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  for (const node of profile.nodes) for (const child of node.children ?? []) parents.set(child, node.id);
  const counts = new Map<number, number>();
  for (const id of profile.samples ?? []) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].map(([leaf, count]) => {
    const stack: ProfileFrame[] = [];
    for (let id: number | undefined = leaf; id !== undefined; id = parents.get(id)) {
      const node = nodes.get(id);
      if (node !== undefined) stack.push(frameOf(node.callFrame));
    }
    return { stack, values: [count, count * nanosecondsEach] };
  });
}

function memorySamples(head: HeapProfiler.SamplingHeapProfileNode): ProfileSample[] {
  const samples: ProfileSample[] = [];
  const walk = (node: HeapProfiler.SamplingHeapProfileNode, callers: readonly ProfileFrame[]): void => {
    const stack = [frameOf(node.callFrame), ...callers];
    if (node.selfSize > 0) samples.push({ stack, values: [node.selfSize] });
    for (const child of node.children) walk(child, stack);
  };
  walk(head, []);
  return samples;
}

function frameOf(frame: Runtime.CallFrame): ProfileFrame {
  return {
    name: frame.functionName === '' ? '(anonymous)' : frame.functionName,
    file: frame.url,
    line: frame.lineNumber + 1,
  };
}

/** One function on a stack. */
interface ProfileFrame {
  readonly name: string;
  readonly file: string;
  /** From 1; 0 when it is not known. */
  readonly line: number;
}

/** One stack, innermost frame first, with one value per type of the profile. */
interface ProfileSample {
  readonly stack: readonly ProfileFrame[];
  readonly values: readonly number[];
}

/** Quantity that a profile measures, such as `cpu` in `nanoseconds`. */
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

/** Encodes a profile in pprof's format: its `Profile` message, gzipped. */
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

/** Assigns each distinct item an index, in the order of first use. */
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

  /** Handles values beyond 32 bits, such as times in nanoseconds. */
  #varint(value: number): void {
    let rest = Math.max(0, Math.round(value));
    while (rest >= 0x80) {
      this.#bytes.push((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes.push(rest);
  }
}
