import {
  type GatewayAddress,
  type GatewayDestination,
  KmeshError,
  type NetworkAddress,
  type PortMap,
} from '@kmesh/api';
import { canonicalIp } from '@kmesh/orchestration';
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml';

/** One field of a document: its node (null for an empty value) and its path, such as `workloads[0].protocol`. */
export interface Field {
  readonly node: Node | null;
  readonly path: string;
  /** Position for messages if the node is empty. */
  readonly offset: number;
}

/** The fields of an object by key. */
type Fields<Key extends string> = { readonly [Name in Key]?: Field };

/** Limit of listed problems; the rest is counted. */
const MAXIMUM_PROBLEMS = 50;

/**
 * Reads a YAML document field by field and collects every problem with line, column, path, value and allowed values.
 * Reading functions return a harmless value after a problem; {@link YamlReader.finish} then throws.
 */
export class YamlReader {
  readonly root: Field;
  readonly #source: string;
  readonly #lines = new LineCounter();
  readonly #resolve: (node: unknown) => Node | null;
  readonly #problems: string[] = [];
  #problemCount = 0;

  /** @param source name of the document in messages: a path or a variable */
  constructor(text: string, source: string) {
    this.#source = source;
    const document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of document.errors) this.#report(error.pos[0], `not valid YAML: ${error.message}`);
    this.#resolve = (node) => {
      const target = isAlias(node) ? node.resolve(document) : node;
      return isScalar(target) || isMap(target) || isSeq(target) ? target : null;
    };
    this.root = { node: this.#resolve(document.contents), path: '', offset: 0 };
  }

  /** Records a problem with the value of a field; `allowed` describes the allowed values. */
  problem(field: Field, allowed: string): void {
    this.#report(
      offsetOf(field),
      `${field.path || 'the document'} is ${describe(field.node)}; allowed: ${allowed}`,
    );
  }

  /**
   * Ends reading.
   *
   * @throws {KmeshError} `KMESH_LOCAL_CONFIG_INVALID` with every problem, if there are any
   */
  finish(): void {
    if (this.#problemCount === 0) return;
    const more = this.#problemCount - this.#problems.length;
    const tail = more > 0 ? `\n  and ${more} more` : '';
    const list = this.#problems.map((problem) => `\n  ${problem}`).join('');
    throw new KmeshError(
      'KMESH_LOCAL_CONFIG_INVALID',
      `The local mesh configuration ${this.#source} is not valid:${list}${tail}`,
    );
  }

  /** Returns whether a field is absent or empty. */
  isAbsent(field: Field | undefined): field is undefined {
    return field === undefined || field.node === null || (isScalar(field.node) && field.node.value === null);
  }

  /** Returns the name of a value's local tag: `Exact` of `!Exact text`. */
  tag(field: Field): string | undefined {
    return /^!([A-Za-z]\w*)$/.exec(field.node?.tag ?? '')?.[1];
  }

  /** Returns the field without its local tag. */
  untagged(field: Field): Field {
    if (field.node === null) return field;
    const node = field.node.clone() as Node;
    delete node.tag;
    return { ...field, node };
  }

  /** Returns the fields of an object. Unknown keys are problems unless `onUnknown` is given. */
  object<Required extends string, Optional extends string>(
    field: Field,
    required: readonly Required[],
    optional: readonly Optional[],
    onUnknown?: (key: Field) => void,
  ): Fields<Required | Optional> {
    const fields: { [Name in string]?: Field } = {};
    if (!isMap(field.node)) {
      this.problem(field, `an object with ${[...required, ...optional].join(', ')}`);
      return fields as Fields<Required | Optional>;
    }
    const known: readonly string[] = [...required, ...optional];
    for (const [key, entry] of this.#entries(field.node, field.path)) {
      if (known.includes(key)) fields[key] = entry;
      else if (onUnknown !== undefined) onUnknown(entry);
      else
        this.#report(
          offsetOfKey(field.node, key),
          `${entry.path} is an unknown key; allowed: ${known.join(', ')}`,
        );
    }
    for (const key of required) {
      if (fields[key] !== undefined) continue;
      const path = field.path === '' ? key : `${field.path}.${key}`;
      this.#report(offsetOf(field), `${path} is missing; it is required`);
    }
    return fields as Fields<Required | Optional>;
  }

  /** Returns the entries of an object with arbitrary keys. */
  map(field: Field | undefined): [string, Field][] {
    if (this.isAbsent(field)) return [];
    if (isMap(field.node)) return [...this.#entries(field.node, field.path)];
    this.problem(field, 'an object');
    return [];
  }

  /** Returns the items of a list. */
  list(field: Field | undefined): Field[] {
    if (this.isAbsent(field)) return [];
    if (!isSeq(field.node)) {
      this.problem(field, 'a list');
      return [];
    }
    return field.node.items.map((item, index) => ({
      node: this.#resolve(item),
      path: `${field.path}[${index}]`,
      offset: offsetOf(field),
    }));
  }

  text(field: Field | undefined, absent = ''): string {
    if (field === undefined) return absent;
    const value = isScalar(field.node) ? field.node.value : undefined;
    if (typeof value === 'string') return value;
    this.problem(field, 'text (in quotes if YAML would read it as another type)');
    return absent;
  }

  flag(field: Field | undefined, absent = false): boolean {
    if (field === undefined) return absent;
    const value = isScalar(field.node) ? field.node.value : undefined;
    if (typeof value === 'boolean') return value;
    this.problem(field, 'true or false');
    return absent;
  }

  /** Reads a whole number from 0 to `maximum`. */
  number(field: Field | undefined, maximum: number, absent = 0): number {
    if (field === undefined) return absent;
    const value = isScalar(field.node) ? field.node.value : undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maximum) return value;
    this.problem(field, `a whole number from 0 to ${maximum}`);
    return absent;
  }

  /** Reads one of `values`, as text or as the tag of an empty value (`!HBONE`). */
  choice<Value extends string>(field: Field | undefined, values: readonly Value[], absent: Value): Value {
    if (field === undefined) return absent;
    const text = isScalar(field.node) ? field.node.value : undefined;
    const value = text === null || text === '' ? this.tag(field) : text;
    const chosen = values.find((candidate) => candidate === value);
    if (chosen !== undefined) return chosen;
    this.problem(field, values.join(', '));
    return absent;
  }

  /** Reads a text with `parse`; returns `undefined` after a problem. */
  parsed<Value>(
    field: Field,
    allowed: string,
    parse: (text: string) => Value | undefined,
  ): Value | undefined {
    const text = isScalar(field.node) && typeof field.node.value === 'string' ? field.node.value : undefined;
    const value = text === undefined ? undefined : parse(text);
    if (value === undefined) this.problem(field, allowed);
    return value;
  }

  *#entries(map: YAMLMap, path: string): Iterable<[string, Field]> {
    for (const pair of map.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
      const offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0;
      yield [key, { node: this.#resolve(pair.value), path: path === '' ? key : `${path}.${key}`, offset }];
    }
  }

  #report(offset: number, message: string): void {
    this.#problemCount++;
    if (this.#problems.length >= MAXIMUM_PROBLEMS) return;
    const { line, col } = this.#lines.linePos(offset);
    this.#problems.push(`${this.#source}:${line}:${col}: ${message}`);
  }
}

function offsetOf(field: Field): number {
  return field.node?.range?.[0] ?? field.offset;
}

function offsetOfKey(map: YAMLMap, key: string): number {
  for (const pair of map.items) {
    if (isScalar(pair.key) && String(pair.key.value) === key) return pair.key.range?.[0] ?? 0;
  }
  return 0;
}

function describe(node: Node | null): string {
  if (node === null) return 'empty';
  if (isMap(node)) return 'an object';
  if (isSeq(node)) return 'a list';
  const value = isScalar(node) ? node.value : undefined;
  if (value === null) return 'empty';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Reads a map of ports to ports; 0 is allowed only as a target. */
export function readPorts(reader: YamlReader, field: Field | undefined): PortMap {
  const ports = new Map<number, number>();
  for (const [key, target] of reader.map(field)) {
    const port = /^\d{1,5}$/.test(key) ? Number(key) : 0;
    if (port < 1 || port > 65535) {
      reader.problem(target, `a key that is a port from 1 to 65535 (the key here is ${JSON.stringify(key)})`);
      continue;
    }
    ports.set(port, reader.number(target, 65535));
  }
  return ports;
}

/** Reads a list of texts. */
export function readTexts(reader: YamlReader, field: Field | undefined): string[] {
  return reader.list(field).map((item) => reader.text(item));
}

/** Reads a list of IP addresses; returns them in canonical form. */
export function readIps(reader: YamlReader, field: Field | undefined): string[] {
  return reader
    .list(field)
    .flatMap((item) => reader.parsed(item, 'an IPv4 or IPv6 address', canonicalIp) ?? []);
}

/** Reads a list of `network/ip`. */
export function readNetworkAddresses(reader: YamlReader, field: Field | undefined): NetworkAddress[] {
  return reader
    .list(field)
    .flatMap(
      (item) =>
        reader.parsed(item, '"network/ip", or "/ip" for the empty network', parseNetworkAddress) ?? [],
    );
}

/** Reads `{destination, hboneMtlsPort}`, both required; returns `undefined` when absent. */
export function readGateway(reader: YamlReader, field: Field | undefined): GatewayAddress | undefined {
  if (reader.isAbsent(field)) return undefined;
  const fields = reader.object(field, ['destination', 'hboneMtlsPort'], []);
  const allowed = '"network/ip" or "namespace/hostname"';
  const destination =
    fields.destination && reader.parsed(fields.destination, allowed, parseGatewayDestination);
  const hboneMtlsPort = reader.number(fields.hboneMtlsPort, 65535);
  return destination === undefined ? undefined : { destination, hboneMtlsPort };
}

/** Returns a key of two non-empty parts, `namespace/name`, or `undefined` for any other text. */
export function parseKey(text: string): string | undefined {
  const slash = text.indexOf('/');
  return slash > 0 && slash < text.length - 1 && !text.includes('/', slash + 1) ? text : undefined;
}

function parseNetworkAddress(text: string): NetworkAddress | undefined {
  const slash = text.indexOf('/');
  const ip = slash < 0 ? undefined : canonicalIp(text.slice(slash + 1));
  return ip === undefined ? undefined : { network: text.slice(0, slash), ip };
}

function parseGatewayDestination(text: string): GatewayDestination | undefined {
  const address = parseNetworkAddress(text);
  if (address !== undefined) return { kind: 'address', ...address };
  if (parseKey(text) === undefined) return undefined;
  const slash = text.indexOf('/');
  return { kind: 'hostname', namespace: text.slice(0, slash), hostname: text.slice(slash + 1) };
}
