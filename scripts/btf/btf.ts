import { KmeshError } from '@kmesh/api';
import { elfSection } from './elf.ts';

/**
 * A struct's field. Offsets and sizes are bytes. `kind` says what one element is: an integer (`char` arrays are `unsigned`
 * arrays), an enum, a pointer, or a nested struct or union, whose own layout `type` names (or `fields` holds when it has no name).
 */
export interface FieldLayout {
  readonly name: string;
  readonly offset: number;
  /** Bytes of the whole field, arrays included. */
  readonly size: number;
  readonly kind: 'unsigned' | 'signed' | 'bool' | 'enum' | 'pointer' | 'struct' | 'union' | 'float';
  /** Number of elements when the field is an array; nested arrays are flattened. */
  readonly arrayLength?: number;
  /** Bytes of one element. */
  readonly elementSize: number;
  /** Name of a struct, union or enum type; empty when it has none. */
  readonly type?: string;
  /** Fields of a nested struct or union, offsets relative to its start. */
  readonly fields?: readonly FieldLayout[];
  /** Position in the unit at `offset`, for bit-fields. */
  readonly bits?: { readonly offset: number; readonly size: number };
}

/** A struct or union, with its size in bytes. */
interface StructLayout {
  readonly name: string;
  readonly size: number;
  readonly kind: 'struct' | 'union';
  readonly fields: readonly FieldLayout[];
}

/** An enum and its values. */
interface EnumLayout {
  readonly name: string;
  readonly size: number;
  readonly values: readonly { readonly name: string; readonly value: bigint }[];
}

interface BtfType {
  readonly name: string;
  readonly kind: number;
  readonly kindFlag: boolean;
  readonly length: number;
  readonly sizeOrType: number;
  /** Offset of what follows the common header. */
  readonly rest: number;
}

const kinds = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  function: 12,
  float: 16,
  enum64: 19,
} as const;
/** Typedef, volatile, const, restrict and type tag: what a field's type may be wrapped in. */
const wrappers: ReadonlySet<number> = new Set([8, 9, 10, 11, 18]);

/** Raw `.BTF` bytes of a compiled object. @throws KmeshError `KMESH_BTF_INVALID` */
function objectBtf(bytes: Uint8Array): Uint8Array {
  const section = elfSection(bytes, '.BTF');
  if (section !== undefined) return section;
  throw invalid('the object has no .BTF section; compile it with clang -g');
}

/** The bytes of a section of a compiled object, to be read or edited; undefined when there is none. @throws KmeshError `KMESH_BTF_INVALID` */
export function objectSection(bytes: Uint8Array, name: string): Uint8Array | undefined {
  return elfSection(bytes, name);
}

/**
 * Layouts of the named structs and unions of a compiled object, in the order of `names`; all named ones when absent.
 *
 * @throws KmeshError `KMESH_BTF_INVALID` when the object has no such type. A type that no map, global or function of the
 * object uses is not in its BTF.
 */
export function objectStructLayouts(bytes: Uint8Array, names?: readonly string[]): StructLayout[] {
  const btf = new Btf(objectBtf(bytes));
  const found = new Map<string, StructLayout>();
  for (let id = 1; id < btf.types.length; id += 1) {
    const type = btf.type(id);
    const wanted = names === undefined ? type.name !== '' : names.includes(type.name);
    if (!wanted || found.has(type.name) || (type.kind !== kinds.struct && type.kind !== kinds.union))
      continue;
    const kind = type.kind === kinds.union ? 'union' : 'struct';
    found.set(type.name, { name: type.name, size: type.sizeOrType, kind, fields: btf.fields(type) });
  }
  if (names === undefined) return [...found.values()];
  return names.map((name) => found.get(name) ?? fail(`the object's BTF has no struct or union ${name}`));
}

/** The named enums of a compiled object; all named ones when absent. @throws KmeshError `KMESH_BTF_INVALID` */
export function objectEnumLayouts(bytes: Uint8Array, names?: readonly string[]): EnumLayout[] {
  const btf = new Btf(objectBtf(bytes));
  const found = new Map<string, EnumLayout>();
  for (let id = 1; id < btf.types.length; id += 1) {
    const type = btf.type(id);
    if (type.name === '' || (type.kind !== kinds.enum && type.kind !== kinds.enum64)) continue;
    found.set(type.name, { name: type.name, size: type.sizeOrType, values: btf.enumValues(type) });
  }
  if (names === undefined) return [...found.values()];
  return names.map((name) => found.get(name) ?? fail(`the object's BTF has no enum ${name}`));
}

/** Names of the functions of a compiled object, by their type's id. @throws KmeshError `KMESH_BTF_INVALID` */
export function objectFunctionNames(bytes: Uint8Array): ReadonlyMap<number, string> {
  const { types } = new Btf(objectBtf(bytes));
  return new Map(
    types.flatMap((type, id) => (type.kind === kinds.function ? [[id, type.name] as const] : [])),
  );
}

/** BTF as the kernel defines it (Documentation/bpf/btf.rst): a header, a list of types, a table of strings. */
class Btf {
  readonly types: BtfType[] = [{ name: 'void', kind: 0, kindFlag: false, length: 0, sizeOrType: 0, rest: 0 }];
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #strings: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.byteLength < 24 || this.#view.getUint16(0, true) !== 0xeb9f)
      throw invalid('.BTF has no valid header');
    const header = this.#view.getUint32(4, true);
    const start = header + this.#view.getUint32(8, true);
    const end = start + this.#view.getUint32(12, true);
    this.#strings = header + this.#view.getUint32(16, true);
    if (end > bytes.byteLength || this.#strings > bytes.byteLength) throw invalid('.BTF is cut short');
    for (let at = start; at < end; ) {
      const type = this.#readType(at);
      this.types.push(type);
      at = type.rest + trailingBytes(type);
    }
  }

  type(id: number): BtfType {
    return this.types[id] ?? fail(`.BTF refers to type ${id}, which it does not have`);
  }

  fields(struct: BtfType): FieldLayout[] {
    return Array.from({ length: struct.length }, (_, index) => {
      const at = struct.rest + index * 12;
      const offset = this.#view.getUint32(at + 8, true);
      const bitSize = struct.kindFlag ? offset >>> 24 : 0;
      const bitOffset = struct.kindFlag ? offset & 0xff_ffff : offset;
      return this.#field(this.#string(at), this.#view.getUint32(at + 4, true), bitOffset, bitSize);
    });
  }

  enumValues(type: BtfType): { name: string; value: bigint }[] {
    const wide = type.kind === kinds.enum64;
    return Array.from({ length: type.length }, (_, index) => {
      const at = type.rest + index * (wide ? 12 : 8);
      const low = this.#view.getUint32(at + 4, true);
      const bits = wide ? (BigInt(this.#view.getUint32(at + 8, true)) << 32n) | BigInt(low) : BigInt(low);
      return { name: this.#string(at), value: type.kindFlag ? BigInt.asIntN(wide ? 64 : 32, bits) : bits };
    });
  }

  #field(name: string, typeId: number, bitOffset: number, bitSize: number): FieldLayout {
    let type = this.#unwrapped(typeId);
    let arrayLength: number | undefined;
    while (type.kind === kinds.array) {
      arrayLength = (arrayLength ?? 1) * this.#view.getUint32(type.rest + 8, true);
      type = this.#unwrapped(this.#view.getUint32(type.rest, true));
    }
    const kind = this.#kindOf(type);
    const elementSize = kind === 'pointer' ? 8 : type.sizeOrType;
    const composite = kind === 'struct' || kind === 'union';
    const unit =
      bitSize === 0 ? Math.floor(bitOffset / 8) : Math.floor(bitOffset / 8 / elementSize) * elementSize;
    return {
      name,
      offset: unit,
      size: elementSize * (arrayLength ?? 1),
      kind,
      elementSize,
      ...(arrayLength === undefined ? {} : { arrayLength }),
      ...(composite || kind === 'enum' ? { type: type.name } : {}),
      ...(composite ? { fields: this.fields(type) } : {}),
      ...(bitSize === 0 ? {} : { bits: { offset: bitOffset - unit * 8, size: bitSize } }),
    };
  }

  #kindOf(type: BtfType): FieldLayout['kind'] {
    switch (type.kind) {
      case kinds.int: {
        const encoding = (this.#view.getUint32(type.rest, true) >>> 24) & 0xf;
        if ((encoding & 4) !== 0) return 'bool';
        return (encoding & 1) !== 0 ? 'signed' : 'unsigned';
      }
      case kinds.pointer:
        return 'pointer';
      case kinds.struct:
        return 'struct';
      case kinds.union:
        return 'union';
      case kinds.enum:
      case kinds.enum64:
        return 'enum';
      case kinds.float:
        return 'float';
      default:
        return fail(`.BTF has a field of kind ${type.kind}, which no struct can have`);
    }
  }

  #unwrapped(id: number): BtfType {
    let type = this.type(id);
    while (wrappers.has(type.kind)) type = this.type(type.sizeOrType);
    return type;
  }

  #readType(at: number): BtfType {
    const info = this.#view.getUint32(at + 4, true);
    return {
      name: this.#string(at),
      kind: (info >>> 24) & 0x1f,
      kindFlag: info >>> 31 === 1,
      length: info & 0xffff,
      sizeOrType: this.#view.getUint32(at + 8, true),
      rest: at + 12,
    };
  }

  /** The string whose offset is stored at `at`. */
  #string(at: number): string {
    const start = this.#strings + this.#view.getUint32(at, true);
    const end = this.#bytes.indexOf(0, start);
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start).toString('utf8');
  }
}

function trailingBytes(type: BtfType): number {
  switch (type.kind) {
    case kinds.int:
    case 14: // variable
    case 17: // declaration tag
      return 4;
    case kinds.array:
      return 12;
    case kinds.struct:
    case kinds.union:
    case 15: // data section
    case kinds.enum64:
      return type.length * 12;
    case kinds.enum:
    case 13: // function prototype
      return type.length * 8;
    default:
      return 0;
  }
}

function invalid(message: string): KmeshError {
  return new KmeshError('KMESH_BTF_INVALID', message);
}

function fail(message: string): never {
  throw invalid(message);
}
