import { type Baggage, parseBaggage } from '@kmesh/orchestration';

const MAXIMUM_KNOWN = 1_024;
const MAXIMUM_LENGTH = 512;
const known = new Map<string, Baggage | undefined>();

/** What the `baggage` lines of a request say; those of one peer are all equal, so they are read once. */
export function peerBaggage(lines: readonly string[]): Baggage | undefined {
  const [line] = lines;
  if (line === undefined || lines.length > 1 || line.length > MAXIMUM_LENGTH) return parseBaggage(lines);
  const found = known.get(line);
  if (found !== undefined) return found;
  if (known.size >= MAXIMUM_KNOWN) known.clear();
  const baggage = parseBaggage(line);
  known.set(line, baggage);
  return baggage;
}
