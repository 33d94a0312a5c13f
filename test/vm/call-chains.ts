import type { ProgramCode } from '@kmesh/linux';

/** A call chain of a program's functions, and its total stack. */
export interface CallChain {
  /** Indexes of the functions, the program first. */
  readonly functions: readonly number[];
  /** Bytes, counted as the verifier counts them. */
  readonly bytes: number;
}

/**
 * The verifier rounds a function's stack up to this before it sums a chain (`check_max_stack_depth`): the interpreter's
 * granularity. Newer kernels with a JIT compiler round to 16 bytes, so a chain that is accepted here is accepted there.
 */
const ROUNDED_TO = 32;

const INSTRUCTION_BYTES = 8;
/** `BPF_JMP | BPF_CALL`, and the `src_reg` of a call of a function of the program. */
const CALL = 0x85;
const PSEUDO_CALL = 1;
/** `BPF_LD | BPF_IMM | BPF_DW`, and the `src_reg` of the address of a function that a helper calls. */
const LOAD_ADDRESS = 0x18;
const PSEUDO_FUNCTION = 4;

/**
 * Returns the call chain of a loaded program that needs the most stack.
 *
 * @param frames - bytes of stack of each function, as the verifier reports them.
 * @throws Error when the frames are not those of these functions, or a call leads to no function
 */
export function deepestChain(code: ProgramCode, frames: readonly number[]): CallChain {
  // Without function information the program is the only function.
  const starts = code.functions.length === 0 ? [0] : code.functions.map(({ start }) => start);
  if (starts.length !== frames.length)
    throw new Error(`the verifier reports ${frames.length} stacks for ${starts.length} functions`);
  const callees = calls(code.instructions, starts);
  const deepest = new Map<number, CallChain>();
  // The verifier refuses recursion, so this ends.
  const from = (index: number): CallChain => {
    const known = deepest.get(index);
    if (known !== undefined) return known;
    const longest = [...(callees[index] ?? [])]
      .map(from)
      .reduce<CallChain>((most, chain) => (chain.bytes > most.bytes ? chain : most), {
        functions: [],
        bytes: 0,
      });
    const own = Math.ceil(Math.max(frames[index] ?? 0, 1) / ROUNDED_TO) * ROUNDED_TO;
    const chain = { functions: [index, ...longest.functions], bytes: own + longest.bytes };
    deepest.set(index, chain);
    return chain;
  };
  return from(0);
}

/** Callees of each function, by index. */
function calls(instructions: Uint8Array, starts: readonly number[]): Set<number>[] {
  const view = new DataView(instructions.buffer, instructions.byteOffset, instructions.byteLength);
  const found = starts.map(() => new Set<number>());
  let caller = 0;
  for (let at = 0; at < instructions.byteLength / INSTRUCTION_BYTES; at += 1) {
    if (starts[caller + 1] === at) caller += 1;
    const place = at * INSTRUCTION_BYTES;
    const [operation, source] = [view.getUint8(place), view.getUint8(place + 1) >>> 4];
    // The kernel shows the distance of a call in the offset, that of an address in the immediate value.
    let distance: number | undefined;
    if (operation === CALL && source === PSEUDO_CALL) distance = view.getInt16(place + 2, true);
    else if (operation === LOAD_ADDRESS && source === PSEUDO_FUNCTION)
      distance = view.getInt32(place + 4, true);
    if (distance !== undefined) {
      const callee = starts.indexOf(at + distance + 1);
      if (callee < 0)
        throw new Error(`instruction ${at} calls ${at + distance + 1}, where no function begins`);
      found[caller]?.add(callee);
    }
    // Its second half is not an instruction.
    if (operation === LOAD_ADDRESS) at += 1;
  }
  return found;
}
