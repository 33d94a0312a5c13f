import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const runtime = fileURLToPath(new URL('../src/index.ts', import.meta.url));

/** Runs a script in a separate Node.js process and returns the JSON that it prints. */
function run(script: string, options: { wrapper?: string[]; env?: NodeJS.ProcessEnv } = {}): unknown {
  const source = `import * as runtime from ${JSON.stringify(runtime)};\n${script}`;
  const command = [
    ...(options.wrapper ?? []),
    process.execPath,
    '--input-type=module-typescript',
    '-e',
    source,
  ];
  const result = spawnSync(command[0] ?? '', command.slice(1), {
    encoding: 'utf8',
    env: { ...process.env, ...options.env },
  });
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout);
}

test('without capabilities every row names the missing one, and none throws', () => {
  const wrapper = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
  const script = 'console.log(JSON.stringify(runtime.probeCapabilities()))';
  const table = run(script, { wrapper }) as { name: string; available: boolean; reason: string }[];
  const row = (name: string) => table.find((entry) => entry.name === name);
  assert.match(row('bpf')?.reason ?? '', /EPERM: needs CAP_BPF/);
  assert.match(row('tcx')?.reason ?? '', /bpf\(\) is not permitted/);
  assert.equal(row('network-namespaces')?.available, false);
  assert.equal(row('cgroup-mount')?.available, true);
});

test('a refused bpf call is a permission error with a remedy', () => {
  const wrapper = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
  const script = `
    try { runtime.createMap({ type: 1, name: 'x', keySize: 4, valueSize: 4, maxEntries: 1 }); }
    catch (error) { console.log(JSON.stringify([error.code, error.errnoName, error.message])); }`;
  const [code, errno, message] = run(script, { wrapper }) as string[];
  assert.equal(code, 'KMESH_BPF_PERMISSION');
  assert.equal(errno, 'EPERM');
  assert.match(message ?? '', /CAP_BPF/);
});

test('the error for a missing addon names the command that builds it', () => {
  const script = `
    try { runtime.probeCapabilities(); }
    catch (error) { console.log(JSON.stringify([error.code, error.message])); }`;
  const [code, message] = run(script, { env: { KMESH_ADDON_DIRECTORY: '/nowhere' } }) as string[];
  assert.equal(code, 'KMESH_ADDON_MISSING');
  assert.match(message ?? '', /scripts\/build-addon\.sh/);
});

test('the error for a missing file names its path and the command that builds it', () => {
  const script = `
    try { runtime.programFile('bpf/none.bpf.o'); }
    catch (error) { console.log(JSON.stringify([error.code, error.message])); }`;
  const [code, message] = run(script) as string[];
  assert.equal(code, 'KMESH_PROGRAM_FILE_MISSING');
  assert.match(message ?? '', /^bpf\/none\.bpf\.o is not in .*\/build\/; build it with "npm run build"$/);
});
