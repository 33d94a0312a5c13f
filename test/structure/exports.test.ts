import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/** The names that a module statement mentions: `{ a, type b as c }`, under the name in the module that is imported. */
interface Mention {
  readonly file: string;
  readonly specifier: string;
  readonly names: readonly { readonly imported: string; readonly exported: string }[];
  /** `* as name`, `import(…)` without a list: every name counts. */
  readonly whole: boolean;
  readonly reexport: boolean;
  readonly namespace: boolean;
}

const statement =
  /(?:^|[\s;(=])(import|export)\s+(?:type\s+)?(?:(\*(?:\s+as\s+\w+)?)|(\{[^{}]*\}))\s*from\s*'([^']+)'/g;
const dynamic = /(?:(\{[^{}]*\})\s*=\s*await\s+)?import\(\s*'([^']+)'\s*\)(?:\.(\w+))?/g;
const declaration =
  /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|const|let|class|interface|type|enum)\s+(\w+)/gm;
const ownList = /^export\s+(?:type\s+)?\{([^}]*)\}\s*;/gm;

const texts = new Map<string, string>();
function textOf(file: string): string {
  const known = texts.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
  texts.set(file, text);
  return text;
}

function listed(braces: string): Mention['names'] {
  return braces
    .replace(/[{}]/g, '')
    .split(',')
    .map((part) => part.trim().replace(/^type\s+/, ''))
    .filter((part) => part !== '')
    .map((part) => {
      const [imported = '', exported = imported] = part.split(/\s+as\s+|\s*:\s*/);
      return { imported, exported };
    });
}

function mentionsIn(file: string): Mention[] {
  const mentions: Mention[] = [];
  for (const [, keyword, star, braces, specifier = ''] of textOf(file).matchAll(statement)) {
    const names = braces === undefined ? [] : listed(braces);
    mentions.push({
      file,
      specifier,
      names,
      whole: star !== undefined,
      reexport: keyword === 'export',
      namespace: star?.includes(' ') ?? false,
    });
  }
  for (const [, braces, specifier = '', member] of textOf(file).matchAll(dynamic)) {
    const names = listed(braces ?? (member === 'then' ? '' : (member ?? '')));
    mentions.push({ file, specifier, names, whole: names.length === 0, reexport: false, namespace: false });
  }
  return mentions;
}

/** The file of the workspace that a specifier names. */
function target(from: string, specifier: string): string | undefined {
  const testing = /^@kmesh\/lab\/(testing\/.+)$/.exec(specifier)?.[1];
  if (testing !== undefined) return join('packages/lab/src', testing);
  if (specifier === '@kmesh/api/testing') return 'packages/api/src/testing.ts';
  const name = /^@kmesh\/(\w+)$/.exec(specifier)?.[1];
  const file =
    name === undefined ? join(dirname(from), specifier) : join('packages', name, 'src', 'index.ts');
  return file.endsWith('.ts') && existsSync(file) ? file : undefined;
}

const isIndex = (file: string): boolean => file.endsWith('/index.ts');
const product = globSync('packages/*/src/**/*.ts').sort();
const written = product.filter((file) => !file.includes('/gen/'));
const others = globSync(['packages/*/test/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts']);

/** Who imports which name of which file: `file#name` to importing files. */
function uses(files: readonly string[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const add = (file: string, name: string, user: string): void => {
    const key = `${file}#${name}`;
    const users = found.get(key) ?? new Set();
    found.set(key, users.add(user));
  };
  for (const file of files) {
    for (const { specifier, names, whole, reexport, namespace } of mentionsIn(file)) {
      const of = target(file, specifier);
      if (of === undefined) continue;
      for (const { imported, exported } of names) {
        add(of, imported, reexport && isIndex(file) ? `${file}#${exported}` : file);
      }
      if (whole) add(of, '*', reexport && isIndex(file) && !namespace ? `${file}#*` : file);
    }
  }
  return found;
}

function exportsOf(file: string): string[] {
  const names = [...textOf(file).matchAll(declaration)].map(([, name = '']) => name);
  for (const [, list = ''] of textOf(file).matchAll(ownList))
    names.push(...listed(list).map(({ exported }) => exported));
  return names;
}

const byProduct = uses(product);
const byAll = uses([...product, ...others]);

function isUsed(file: string, name: string, users: ReadonlyMap<string, ReadonlySet<string>>): boolean {
  const found = [...(users.get(`${file}#${name}`) ?? []), ...(users.get(`${file}#*`) ?? [])];
  return found.some((user) => {
    const [index, exported] = user.split('#');
    return exported === undefined || isUsed(index as string, exported === '*' ? name : exported, users);
  });
}

/**
 * Exports that only tests and scripts import. The list must not have a name that the product imports or that no longer
 * exists.
 */
const forTestsOnly = new Set(
  `ANY_IDENTITY CertificateClientOptions LocalMeshWatch LogThread NO_IDENTITY PodLog PoolTarget
  ProgramCode RangeAllocator ScrapeServerOptions SeqpacketOptions SlotRange THRESHOLD_ALWAYS
  WhySources XdsClientOptions chooseAddress commandLine createMap decodeResource
  directLogWriter encodeFrontendKey encodePprof engineSettings formatAuthority frontendHash
  getSocketOption listMounts localityRank matchesString monotonicNanoseconds
  networkNamespaceOfProcess openPinnedProgram overflowLines parseLogFilter parseMetrics queueLines
  readsAsCaptured retireAfterMilliseconds settingsGroups socketCookie socketLocalAddress
  socketPeerAddress spiffeUri targetPortOf threatModel unpin`.split(/\s+/),
);

/** Types that no file imports, but that declarations of imported names need. */
const forDeclarations = new Set(['Codec', 'KernelMesh']);

/** Files that the bundler substitutes for others. */
const substitutes = new Set(['packages/kmesh/src/no-lab.ts']);

test('every export is imported by another file of the product; of packages/lab, by anything', () => {
  const unused: string[] = [];
  const leftOut = new Set<string>();
  for (const file of written) {
    const users = /^packages\/(lab\/|api\/src\/testing\.ts)/.test(file) ? byAll : byProduct;
    for (const name of exportsOf(file)) {
      if (substitutes.has(file) || forDeclarations.has(name) || isUsed(file, name, users)) continue;
      if (forTestsOnly.has(name) && isUsed(file, name, byAll)) leftOut.add(name);
      else unused.push(`${file}: ${name}`);
    }
  }
  assert.deepEqual(unused, []);
  assert.deepEqual([...forTestsOnly.difference(leftOut)], [], 'names to take off the list');
});

test('index files list names, and only names that something outside the folder imports', () => {
  const offences: string[] = [];
  for (const file of written.filter(isIndex)) {
    for (const { names, whole, reexport, namespace, specifier } of mentionsIn(file)) {
      if (!reexport) continue;
      if (whole && !namespace) offences.push(`${file}: * from ${specifier}`);
      for (const { exported } of names) {
        if (!forDeclarations.has(exported) && !isUsed(file, exported, byAll))
          offences.push(`${file}: ${exported}`);
      }
    }
  }
  assert.deepEqual(offences, []);
});

/** Headers that the addon's Makefile reads. */
const inBuild = new Set(['node-addon-api', 'node-api-headers']);

test('every dependency of a package is imported by it', () => {
  const unused: string[] = [];
  for (const manifest of globSync('packages/*/package.json')) {
    const { dependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8'));
    const all = globSync(`${dirname(manifest)}/src/**/*.{ts,js}`)
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');
    for (const name of Object.keys(dependencies)) {
      if (!inBuild.has(name) && !new RegExp(`['"]${name}(?:/[^'"]*)?['"]`).test(all))
        unused.push(`${manifest}: ${name}`);
    }
  }
  assert.deepEqual(unused, []);
});
