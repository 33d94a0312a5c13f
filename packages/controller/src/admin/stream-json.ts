import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { Slicer } from '@kmesh/orchestration';

/** Items sorted without a pause; takes a few milliseconds. */
const runLength = 2_048;

interface Run<Item> {
  readonly items: readonly Item[];
  next: number;
}

/**
 * Sorts items by key without blocking the event loop: runs are sorted one by one here and merged while the result is
 * read. The result can be read once.
 */
export async function sortedInSlices<Item>(
  items: Iterable<Item>,
  key: (item: Item) => string,
  slicer: Slicer,
): Promise<Iterable<Item>> {
  const runs: Run<Item>[] = [];
  let run: Item[] = [];
  const endRun = (): void => {
    runs.push({ items: run.sort((left, right) => compare(key(left), key(right))), next: 0 });
    run = [];
  };
  for (const item of items) {
    run.push(item);
    if (run.length < runLength) continue;
    endRun();
    if (slicer.due) await slicer.pause();
  }
  if (run.length > 0) endRun();
  return merged(runs, key);
}

function* merged<Item>(runs: Run<Item>[], key: (item: Item) => string): Generator<Item> {
  // A heap of the runs by their first item.
  const heap: { run: Run<Item>; item: Item; key: string }[] = [];
  const headOf = (run: Run<Item>): (typeof heap)[number] | undefined => {
    const item = run.items[run.next++];
    return item === undefined ? undefined : { run, item, key: key(item) };
  };
  for (const run of runs) {
    const head = headOf(run);
    if (head !== undefined) heap.push(head);
  }
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, at);
  for (let first = heap[0]; first !== undefined; first = heap[0]) {
    yield first.item;
    const next = headOf(first.run) ?? heap.pop();
    if (next === undefined || heap.length === 0) return;
    heap[0] = next;
    sink(heap, 0);
  }
}

function sink(heap: { readonly key: string }[], from: number): void {
  for (let at = from; ; ) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) {
      const [candidate, current] = [heap[child], heap[least]];
      if (candidate !== undefined && current !== undefined && candidate.key < current.key) least = child;
    }
    const [upper, lower] = [heap[at], heap[least]];
    if (least === at || upper === undefined || lower === undefined) return;
    heap[at] = lower;
    heap[least] = upper;
    at = least;
  }
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

const chunkCharacters = 64 * 1024;

/** Work for a page may block the event loop for 2 ms, then rests for 4 ms, in which garbage can be collected. */
export function slicerForPages(): Slicer {
  return new Slicer(2, 4);
}

/**
 * Writes a value as JSON with an indent of two spaces and ends the stream. Blocks the event loop for a few milliseconds
 * at a time. Obeys backpressure: waits for a slow reader, and stops when the reader has gone.
 */
export async function streamJson(value: unknown, to: Writable): Promise<void> {
  const slicer = slicerForPages();
  let chunk = '';
  for (const piece of jsonPieces(value)) {
    chunk += piece;
    if (chunk.length >= chunkCharacters) {
      await write(to, chunk);
      chunk = '';
    }
    if (to.destroyed) return;
    if (slicer.due) await slicer.pause();
  }
  to.end(`${chunk}\n`);
}

async function write(to: Writable, chunk: string): Promise<void> {
  if (to.write(chunk) || to.destroyed) return;
  const gone = new AbortController();
  const { signal } = gone;
  try {
    await Promise.race([once(to, 'drain', { signal }), once(to, 'close', { signal })]);
  } finally {
    gone.abort();
  }
}

/** An array whose items are produced while it is written. */
export class LazyList {
  readonly items: Iterable<unknown>;

  constructor(items: Iterable<unknown>) {
    this.items = items;
  }

  /** Produces the whole array, for `JSON.stringify` of a plain value that contains it. */
  toJSON(): unknown[] {
    return [...this.items];
  }
}

/** An object whose entries are produced while it is written. */
export class LazyObject {
  readonly entries: Iterable<readonly [key: string, value: unknown]>;

  constructor(entries: Iterable<readonly [key: string, value: unknown]>) {
    this.entries = entries;
  }

  /** As in {@link LazyList}. */
  toJSON(): Record<string, unknown> {
    return Object.fromEntries(this.entries);
  }
}

/**
 * Yields the text of `JSON.stringify(value, null, 2)` in pieces, so that a large answer is never held whole. Lazy lists
 * and objects may be nested in lazy ones and directly in plain objects; a plain value is written in one piece.
 */
function* jsonPieces(value: unknown, indent = ''): Generator<string> {
  if (value instanceof LazyList) {
    yield* between('[', ']', value.items, indent, (item, inner) => jsonPieces(item, inner));
  } else if (value instanceof LazyObject) {
    yield* between('{', '}', value.entries, indent, function* ([key, item], inner) {
      yield `${JSON.stringify(key)}: `;
      yield* jsonPieces(item, inner);
    });
  } else if (isPlainWithLazy(value)) {
    yield* jsonPieces(new LazyObject(Object.entries(value)), indent);
  } else {
    yield plainJson(value, indent.length / indentWidth);
  }
}

const indentWidth = 2;

/**
 * Returns `JSON.stringify(value, null, 2)` as it is written `depth` levels deep, without the first indent. Written within
 * as many arrays, and cut out of them: indenting the lines afterwards would allocate each text three times.
 */
function plainJson(value: unknown, depth: number): string {
  let nested = value;
  for (let level = 0; level < depth; level++) nested = [nested];
  const text = JSON.stringify(nested, null, indentWidth) ?? 'null';
  // Level n begins with a bracket, a line end and n indents, and ends with a line end, n - 1 indents and a bracket.
  const before = 2 * depth + (indentWidth * depth * (depth + 1)) / 2;
  const after = 2 * depth + (indentWidth * depth * (depth - 1)) / 2;
  return text.slice(before, text.length - after);
}

function* between<Item>(
  open: string,
  close: string,
  items: Iterable<Item>,
  indent: string,
  write: (item: Item, indent: string) => Iterable<string>,
): Generator<string> {
  const inner = `${indent}  `;
  let lead = `${open}\n${inner}`;
  let empty = true;
  for (const item of items) {
    yield lead;
    yield* write(item, inner);
    lead = `,\n${inner}`;
    empty = false;
  }
  yield empty ? open + close : `\n${indent}${close}`;
}

function isPlainWithLazy(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).some((part) => part instanceof LazyList || part instanceof LazyObject)
  );
}
