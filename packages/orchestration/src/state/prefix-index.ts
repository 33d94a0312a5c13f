import { maskIp, type ParsedIp, parseCidr, parseIp } from './ip.ts';

interface PrefixTable<Value> {
  /** Prefix length → masked address → values in order of arrival. */
  readonly byLength: Map<number, Map<string, Value[]>>;
  /** Lengths in use, longest first: a lookup costs one probe per length, whatever the number of prefixes. */
  lengths: number[];
}

/** One match of {@link PrefixIndex.find}. */
interface PrefixMatch<Value> {
  readonly value: Value;
  readonly prefixLength: number;
}

/** Values by network and CIDR, found by address, longest prefix first (contract 7.1). */
export class PrefixIndex<Value> {
  readonly #tables = new Map<string, PrefixTable<Value>>();

  /** Adds `value`, or puts it in the place of `previous` where that is there already. */
  put(network: string, cidr: string, value: Value, previous?: Value): void {
    const parsed = parseCidr(cidr);
    if (parsed === undefined) return;
    const tableKey = `${parsed.network.family}/${network}`;
    let table = this.#tables.get(tableKey);
    if (table === undefined) {
      table = { byLength: new Map(), lengths: [] };
      this.#tables.set(tableKey, table);
    }
    let entries = table.byLength.get(parsed.length);
    if (entries === undefined) {
      entries = new Map();
      table.byLength.set(parsed.length, entries);
      table.lengths = [...table.byLength.keys()].sort((left, right) => right - left);
    }
    const key = wordsKey(parsed.network);
    const values = entries.get(key);
    if (values === undefined) {
      entries.set(key, [value]);
      return;
    }
    const position = previous === undefined ? -1 : values.indexOf(previous);
    if (position >= 0) values[position] = value;
    else if (!values.includes(value)) values.push(value);
  }

  remove(network: string, cidr: string, value: Value): void {
    const parsed = parseCidr(cidr);
    if (parsed === undefined) return;
    const tableKey = `${parsed.network.family}/${network}`;
    const table = this.#tables.get(tableKey);
    const entries = table?.byLength.get(parsed.length);
    const key = wordsKey(parsed.network);
    const values = entries?.get(key);
    if (table === undefined || entries === undefined || values === undefined) return;
    const position = values.indexOf(value);
    if (position >= 0) values.splice(position, 1);
    if (values.length > 0) return;
    entries.delete(key);
    if (entries.size > 0) return;
    table.byLength.delete(parsed.length);
    table.lengths = table.lengths.filter((length) => length !== parsed.length);
    if (table.byLength.size === 0) this.#tables.delete(tableKey);
  }

  /** Every value whose CIDR contains the address, longest prefix first. */
  find(network: string, ip: string): PrefixMatch<Value>[] {
    const matches: PrefixMatch<Value>[] = [];
    if (this.#tables.size === 0) return matches;
    const table = this.#tables.get(`${ip.includes(':') ? 6 : 4}/${network}`);
    if (table === undefined) return matches;
    const parsed = parseIp(ip);
    if (parsed === undefined) return matches;
    for (const prefixLength of table.lengths) {
      const values = table.byLength.get(prefixLength)?.get(wordsKey(maskIp(parsed, prefixLength)));
      for (const value of values ?? []) matches.push({ value, prefixLength });
    }
    return matches;
  }
}

function wordsKey(ip: ParsedIp): string {
  return ip.family === 4 ? String(ip.a) : `${ip.a},${ip.b},${ip.c},${ip.d}`;
}
