import type { Slicer } from '@kmesh/orchestration';

/** Items that are sorted in one step: a few milliseconds. */
const runLength = 2_048;

interface Run<Item> {
  readonly items: readonly Item[];
  next: number;
}

/**
 * Items in the order of their keys, without a stretch of work that holds the event loop: runs are sorted one by one
 * here, and merged while the result is read. The result can be read once.
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
