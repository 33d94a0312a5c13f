import { KmeshError } from '@kmesh/api';
import { addon, type NativeHandle } from './addon.ts';
import { BpfMap } from './bpf-map.ts';
import { BpfProgram } from './bpf-program.ts';
import {
  alreadyClosed,
  BpfLoadError,
  checkResult,
  integerIn,
  invalidArgument,
  readVerifierStatistics,
  summarizeVerifierLog,
  systemCallError,
  type VerifierStatistics,
} from './errors.ts';

/** Value of a constant in `.rodata`: a number (any width), a bigint, a boolean, or the raw bytes. */
type ConstantValue = number | bigint | boolean | Uint8Array;

/**
 * A compiled BPF object: edit it (constants, sizes, shared maps), then {@link BpfObject.load} it once. `close()` closes
 * its maps and programs too; links and pins stay.
 */
export class BpfObject implements Disposable {
  readonly name: string;
  #handle: NativeHandle | undefined;
  #loading = false;
  readonly #maps = new Map<string, BpfMap>();
  readonly #programs = new Map<string, BpfProgram>();
  readonly #statistics = new Map<string, VerifierStatistics>();
  #state: 'open' | 'loaded' | 'closed' = 'open';

  constructor(handle: NativeHandle, name: string) {
    this.#handle = handle;
    this.name = name;
  }

  /** Names of the object's maps, including those of constants and globals. */
  get mapNames(): string[] {
    return this.#state === 'loaded' ? [...this.#maps.keys()] : addon().objectMapNames(this.#editable());
  }

  /** Names of the object's programs (C function names). */
  get programNames(): string[] {
    if (this.#state === 'loaded') return [...this.#programs.keys()];
    return addon()
      .objectPrograms(this.#editable())
      .map((program) => program.name);
  }

  /**
   * Sets a `const volatile` global (or an initialised one) by its C name, before load. Numbers are written
   * little-endian in the symbol's own width.
   *
   * @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL`, `KMESH_INVALID_ARGUMENT` when the value does not fit.
   */
  setConstant(symbol: string, value: ConstantValue): this {
    const handle = this.#editable();
    const size = addon().objectConstantSize(handle, symbol);
    if (size < 0) throw missing('constant', symbol, this.name);
    const bytes = value instanceof Uint8Array ? value : integerBytes(symbol, value, size);
    if (bytes.byteLength !== size) {
      throw invalidArgument(`the length of constant ${symbol}`, bytes.byteLength, `${size} bytes`);
    }
    const result = addon().objectSetConstant(handle, symbol, bytes);
    checkResult(result, 'KMESH_BPF_LOAD_FAILED', `cannot set constant ${symbol}`, 'bpf');
    return this;
  }

  /** Sets a map's capacity before load. @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL` */
  setMaxEntries(map: string, count: number): this {
    integerIn('count', count, 1, 0xffff_ffff);
    const result = addon().objectSetMaxEntries(this.#editable(), map, count);
    if (result < 0) throw missing('map', map, this.name);
    return this;
  }

  /**
   * Makes the object use an existing map (another object's or a pinned one) instead of creating one; `map(name)` is
   * then a second handle of it. A map of another type, size or capacity is refused.
   *
   * @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL`, `KMESH_BPF_LOAD_FAILED`, `KMESH_INVALID_ARGUMENT`
   */
  reuseMap(map: string, existing: BpfMap): this {
    const wanted = addon().objectMapDefinition(this.#editable(), map);
    if (typeof wanted === 'number') throw missing('map', map, this.name);
    const { type, keySize, valueSize, maxEntries, flags } = existing.info;
    const found = JSON.stringify({ type, keySize, valueSize, maxEntries, flags });
    const expected = JSON.stringify(wanted);
    if (found !== expected) throw invalidArgument(`the map to use as ${map}`, found, expected);
    const result = addon().objectReuseMap(this.#editable(), map, existing.fd);
    if (result === -2) throw missing('map', map, this.name);
    checkResult(result, 'KMESH_BPF_LOAD_FAILED', `cannot reuse ${existing.name} as map ${map}`, 'bpf');
    return this;
  }

  /** Sets whether a program is loaded with the object (default: yes). @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL` */
  setAutoload(program: string, load: boolean): this {
    if (addon().objectSetAutoload(this.#editable(), program, load) < 0)
      throw missing('program', program, this.name);
    return this;
  }

  /** The verifier's cost of each program, by name; empty unless {@link BpfObject.load} requested it. */
  get verifierStatistics(): ReadonlyMap<string, VerifierStatistics> {
    return this.#statistics;
  }

  /**
   * Creates the maps and loads the programs on another thread.
   *
   * @param options.verifierStatistics - fills {@link BpfObject.verifierStatistics}
   * @throws BpfLoadError `KMESH_BPF_LOAD_FAILED` or `KMESH_BPF_PERMISSION`, with the verifier's log.
   */
  async load(options: { readonly verifierStatistics?: boolean } = {}): Promise<this> {
    const handle = this.#editable();
    this.#loading = true;
    const result = await addon().objectLoad(handle, options.verifierStatistics ?? false);
    this.#loading = false;
    addon().objectClose(handle);
    this.#handle = undefined;
    if (result.errno !== 0) {
      this.#state = 'closed';
      const code = result.errno === 1 ? 'KMESH_BPF_PERMISSION' : 'KMESH_BPF_LOAD_FAILED';
      const program = result.program === '' ? undefined : result.program;
      const summary = summarizeVerifierLog(result.log);
      throw new BpfLoadError(code, this.name, result.errno, program, summary, result.log);
    }
    for (const map of result.maps) this.#maps.set(map.name, new BpfMap(map.fd));
    for (const program of result.programs) {
      this.#programs.set(program.name, new BpfProgram(program));
      if (program.log !== undefined) this.#statistics.set(program.name, readVerifierStatistics(program.log));
    }
    this.#state = 'loaded';
    return this;
  }

  /** Returns a map of the loaded object, owned by it. @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL` */
  map(name: string): BpfMap {
    this.#requireLoaded();
    const map = this.#maps.get(name);
    if (map === undefined) throw missing('map', name, this.name);
    return map;
  }

  /** Returns a program of the loaded object, owned by it. @throws KmeshError `KMESH_BPF_NO_SUCH_SYMBOL` */
  program(name: string): BpfProgram {
    this.#requireLoaded();
    const program = this.#programs.get(name);
    if (program === undefined) throw missing('program', name, this.name);
    return program;
  }

  /** Closes the object, its maps and programs. Links stay. */
  close(): void {
    if (this.#loading) {
      throw new KmeshError(
        'KMESH_BUSY',
        `BPF object ${this.name} is being loaded; await load() before close()`,
      );
    }
    if (this.#handle !== undefined) addon().objectClose(this.#handle);
    this.#handle = undefined;
    for (const map of this.#maps.values()) map.close();
    for (const program of this.#programs.values()) program.close();
    this.#maps.clear();
    this.#programs.clear();
    this.#state = 'closed';
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #editable(): NativeHandle {
    if (this.#state === 'closed') throw alreadyClosed(`BPF object ${this.name}`);
    if (this.#handle === undefined || this.#loading) {
      throw new KmeshError('KMESH_BUSY', `BPF object ${this.name} is already loaded; edit it before load()`);
    }
    return this.#handle;
  }

  #requireLoaded(): void {
    if (this.#state === 'closed') throw alreadyClosed(`BPF object ${this.name}`);
    if (this.#state === 'open') {
      throw new KmeshError('KMESH_BUSY', `BPF object ${this.name} is not loaded yet; await load() first`);
    }
  }
}

/**
 * Parses a compiled BPF object (an ELF file's bytes); nothing is created in the kernel before `load()`.
 *
 * @param name - name of the object in errors.
 * @throws BpfLoadError `KMESH_BPF_OPEN_FAILED`
 */
export function openBpfObject(bytes: Uint8Array, name = 'object'): BpfObject {
  if (!(bytes instanceof Uint8Array) || bytes.byteLength === 0) {
    throw invalidArgument('bytes', bytes?.byteLength, 'the bytes of a BPF ELF file');
  }
  const opened = addon().objectOpen(bytes, name);
  if ('errno' in opened) {
    const summary = summarizeVerifierLog(opened.log);
    throw new BpfLoadError('KMESH_BPF_OPEN_FAILED', name, opened.errno, undefined, summary, opened.log);
  }
  return new BpfObject(opened, name);
}

/**
 * Enables run statistics (`run_time_ns`, `run_cnt`) of all programs until the result is disposed of. The switch is
 * global to the machine and reference-counted by the kernel; each run costs about 20 ns more while it is on.
 *
 * @throws SystemCallError `KMESH_BPF_STATISTICS_FAILED`
 */
export function enableProgramStatistics(): Disposable {
  const fd = addon().statisticsOpen();
  if (fd < 0) {
    throw systemCallError(-fd, 'KMESH_BPF_STATISTICS_FAILED', 'cannot enable program statistics', 'bpf');
  }
  let open = true;
  return {
    [Symbol.dispose]() {
      if (open) addon().closeDescriptor(fd);
      open = false;
    },
  };
}

function missing(kind: string, name: string, object: string): KmeshError {
  return new KmeshError('KMESH_BPF_NO_SUCH_SYMBOL', `BPF object ${object} has no ${kind} named ${name}`);
}

function integerBytes(symbol: string, value: number | bigint | boolean, size: number): Uint8Array {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw invalidArgument(`constant ${symbol}`, value, 'a safe integer, a bigint, a boolean or bytes');
  }
  const wide = BigInt(value);
  const bits = BigInt(size * 8);
  if (size > 8 || wide >= 1n << bits || wide < -(1n << (bits - 1n))) {
    throw invalidArgument(`constant ${symbol}`, value, `a number that fits ${size} bytes`);
  }
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, wide), true);
  return bytes.subarray(0, size);
}
