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
  readonly bits?: {
    readonly offset: number;
    readonly size: number;
  };
}
/** A struct or union, with its size in bytes. */
export interface StructLayout {
  readonly name: string;
  readonly size: number;
  readonly kind: 'struct' | 'union';
  readonly fields: readonly FieldLayout[];
}
/** An enum and its values. */
export interface EnumLayout {
  readonly name: string;
  readonly size: number;
  readonly values: readonly {
    readonly name: string;
    readonly value: bigint;
  }[];
}
/** Raw `.BTF` bytes of a compiled object. @throws KmeshError `KMESH_BTF_INVALID` */
export declare function objectBtf(bytes: Uint8Array): Uint8Array;
/**
 * Layouts of the named structs and unions of a compiled object, in the order of `names`; all named ones when absent.
 *
 * @throws KmeshError `KMESH_BTF_INVALID` when the object has no such type. A type that no map, global or function of the
 * object uses is not in its BTF.
 */
export declare function objectStructLayouts(bytes: Uint8Array, names?: readonly string[]): StructLayout[];
/** The named enums of a compiled object; all named ones when absent. @throws KmeshError `KMESH_BTF_INVALID` */
export declare function objectEnumLayouts(bytes: Uint8Array, names?: readonly string[]): EnumLayout[];
