import { readFileSync } from 'node:fs';
import { kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { BpfLoadError, type BpfObject, capability, openBpfObject } from '@kmesh/linux';
import { kernelPathObstacles, loadKernelObject } from '@kmesh/runtime';
import { objectFunctionNames } from '../../scripts/btf/btf.ts';
import { deepestChain } from './call-chains.ts';
import type { FeatureRow, ProgramRow } from './report.ts';

type Load = () => Promise<BpfObject>;

/** Loads each program separately, with the daemon's settings, so that one failure hides no other. */
export async function examinePrograms(): Promise<ProgramRow[]> {
  const rows: ProgramRow[] = [];
  const functions = objectFunctionNames(readFileSync(kernelObjectPath));
  for (const name of programNames()) rows.push(await examineProgram(name, functions, () => loadAlone(name)));
  return rows;
}

/** Features of the kernel path that this kernel has, and substitutes for the others. */
export function examineFeatures(): FeatureRow[] {
  const obstacles = kernelPathObstacles();
  return [
    { name: 'kernel path', on: obstacles.length === 0, detail: obstacles.join('; ') },
    substitute('kernel-reads', 'reports of live connections', 'bytes are counted at the close'),
    substitute('tcx', 'pinned programs at interfaces', 'clsact filters'),
    substitute('set-retval', 'refusal as ECONNREFUSED', 'EPERM'),
    substitute('batch', 'batch updates', 'one call per entry'),
    substitute('program-statistics', 'cost of the hooks', 'none'),
  ];
}

function substitute(wanted: Parameters<typeof capability>[0], name: string, instead: string): FeatureRow {
  const { available, requiredKernel } = capability(wanted);
  return {
    name,
    on: available,
    detail: available ? '' : `instead: ${instead}; Linux ${requiredKernel} has it`,
  };
}

function programNames(): string[] {
  using object = openBpfObject(readFileSync(kernelObjectPath), 'kmesh');
  return object.programNames;
}

function loadAlone(name: string): Promise<BpfObject> {
  return loadKernelObject({
    path: kernelObjectPath,
    verifierStatistics: true,
    prepare: (opened) => {
      for (const other of opened.programNames) if (other !== name) opened.setAutoload(other, false);
    },
  });
}

async function examineProgram(
  name: string,
  functions: ReadonlyMap<number, string>,
  load: Load,
): Promise<ProgramRow> {
  try {
    using object = await load();
    const spent = object.verifierStatistics.get(name);
    if (spent === undefined) return failed(name, 'omitted: this kernel lacks a required feature');
    const program = object.program(name);
    const info = program.info();
    const code = program.code();
    const chain = deepestChain(code, spent.stackBytes);
    return {
      name,
      loaded: true,
      reason: '',
      processedInstructions: spent.processedInstructions,
      verificationMs: spent.microseconds / 1000,
      stackBytes: chain.bytes,
      callChain: chain.functions.map((index) => {
        const type = code.functions[index]?.type ?? 0;
        return { function: functions.get(type) ?? name, stackBytes: spent.stackBytes[index] ?? 0 };
      }),
      instructions: info.translatedBytes / 8,
      machineCodeBytes: info.machineCodeBytes,
    };
  } catch (error) {
    if (!(error instanceof BpfLoadError)) throw error;
    return failed(name, error.message);
  }
}

function failed(name: string, reason: string): ProgramRow {
  const nothing = { processedInstructions: 0, verificationMs: 0, stackBytes: 0, callChain: [] };
  return { name, loaded: false, reason, ...nothing, instructions: 0, machineCodeBytes: 0 };
}
