import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ztunnelDaemonSet } from '@kmesh/lab/testing/install/ztunnel-chart.ts';

interface Container {
  readonly name: string;
  readonly securityContext: { readonly capabilities: { readonly add: readonly string[] } };
}

interface DaemonSet {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template: { readonly spec: { readonly containers: readonly Container[] } };
  };
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const { scripts, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  version: string;
};

const { metadata, spec } = ztunnelDaemonSet({ image: '' }) as DaemonSet;
const [container] = spec.template.spec.containers;

/**
 * How each form of command is checked. Names in commands that need a cluster are compared with the manifests; an
 * unknown form fails.
 */
const forms: readonly (readonly [RegExp, (words: readonly string[]) => void])[] = [
  [/^npm run ([a-z:]+)$/, ([script = '']) => assert.ok(script in scripts, script)],
  [
    /^npm run bench -- ([a-z]+)$/,
    ([suite = '']) => assert.ok(existsSync(join(root, 'bench', `${suite}.ts`))),
  ],
  [
    /^kubectl -n istio-system set image daemonset\/(\S+) (\S+)=docker\.io\/(?:kmesh\/kmesh|istio\/ztunnel):[0-9.]+$/,
    (words) => assert.deepEqual(words, [metadata.name, container?.name]),
  ],
  [
    /^kubectl -n istio-system patch daemonset ztunnel --type json -p '(\[.+\])'$/,
    ([patch = '']) => {
      const [{ path, value }] = JSON.parse(patch) as [{ path: string; value: string }];
      assert.equal(path, '/spec/template/spec/containers/0/securityContext/capabilities/add/-');
      assert.ok(!container?.securityContext.capabilities.add.includes(value));
    },
  ],
  [
    /^kubectl -n istio-system rollout status daemonset\/(\S+)$/,
    (words) => assert.deepEqual(words, [metadata.name]),
  ],
  [
    /^kubectl -n istio-system exec ds\/ztunnel -- kmeshctl ([a-z]+)$/,
    ([command = '']) => run('packages/ctl/src/main.ts', command, '--help'),
  ],
  [/^istioctl install -f (\S+)$/, ([file = '']) => assert.ok(existsSync(join(root, file)), file)],
  [
    /^helm install ztunnel istio\/ztunnel -n istio-system -f (\S+)$/,
    ([file = '']) => assert.ok(existsSync(join(root, file)), file),
  ],
  // The tests of the config dump check what istioctl reads.
  [/^istioctl ztunnel-config workloads$/, () => {}],
  [
    /^KMESH_PINS=\/sys\/fs\/bpf\/kmesh kmesh (uninstall)$/,
    ([word = '']) => assert.match(run('packages/kmesh/src/main.ts', 'help'), new RegExp(word)),
  ],
];

function run(program: string, ...words: readonly string[]): string {
  return execFileSync(process.execPath, [join(root, program), ...words], { encoding: 'utf8' });
}

for (const page of ['README.md', 'docs/install.md', 'docs/operate.md']) {
  const text = readFileSync(join(root, page), 'utf8');

  test(`${page}: every command exists, with existing options and names`, () => {
    const commands = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
      block.trim().split('\n'),
    );
    assert.ok(commands.length > 1);
    for (const command of commands) {
      const form = forms.find(([pattern]) => pattern.test(command));
      assert.ok(form, `no form of command is ${command}`);
      form[1](form[0].exec(command)?.slice(1) ?? []);
    }
  });

  test(`${page}: every npm command is a script, every file exists, every image is of this version`, () => {
    for (const [, script = ''] of text.matchAll(/npm run ([a-z:]+)/g)) assert.ok(script in scripts, script);
    for (const [, path = ''] of text.matchAll(/((?:istio-integration|docs)\/[a-z0-9./-]+\.(?:yaml|md))/g))
      assert.ok(existsSync(join(root, path)), path);
    for (const [, path = ''] of text.matchAll(/`((?:manifests|values)\/[a-z0-9.-]+)`/g))
      assert.ok(existsSync(join(root, 'istio-integration', path)), path);
    for (const [, tag] of text.matchAll(/kmesh\/kmesh:([0-9.]+)/g)) assert.equal(tag, version);
  });

  test(`${page}: every quoted setting and log line is in the sources`, () => {
    const sources = globSync(join(root, 'packages/*/src/**/*.ts'))
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');
    for (const [, setting = ''] of text.matchAll(/`(KMESH_[A-Z_]+)(?:=[a-z]+)?`/g))
      assert.ok(sources.includes(setting), setting);
    for (const line of [
      'no kernel path: every connection takes the tunnel path',
      'workload proxy manager',
      'cannot create a file in',
    ])
      if (text.includes(line)) assert.ok(sources.includes(line), line);
  });
}

test('the memory figures equal those of the stored run of bench -- footprint', () => {
  const { figures } = JSON.parse(readFileSync(join(root, 'bench/results/footprint.json'), 'utf8')) as {
    figures: readonly { name: string; contestant: string; value: number }[];
  };
  const [idle, some, many] = ['idle', '10,000 workloads', '100,000 workloads'].map((contestant) =>
    figures
      .find(({ name, contestant: of }) => name === 'resident memory' && of === contestant)
      ?.value.toFixed(0),
  );
  const page = (name: string) => readFileSync(join(root, name), 'utf8').replaceAll(/\s+/g, ' ');
  assert.ok(page('README.md').includes(`${idle} MB, ${many} MB`), 'README.md');
  const sizes = `Resident memory was ${idle} MB idle, ${some} MB with 10,000 workloads and ${many} MB with 100,000`;
  assert.ok(page('docs/operate.md').includes(sizes), sizes);
});

test('the ratios of the comparison with ztunnel equal those of the stored runs of one node and two nodes', () => {
  const page = readFileSync(join(root, 'README.md'), 'utf8').replaceAll(/\s+/g, ' ');
  const ratio = (suite: string, wanted: string): number => {
    const { ratios } = JSON.parse(readFileSync(join(root, `bench/results/${suite}.json`), 'utf8')) as {
      ratios: readonly { name: string; value: number }[];
    };
    const found = ratios.find(({ name }) => name === wanted);
    assert.ok(found, `${suite}: ${wanted}`);
    return found.value;
  };
  const requests = ['onenode', 'twonodes'].map((suite) =>
    ratio(suite, 'requests, 64 connections: kmesh / Envoy pair, TCP proxy').toFixed(1),
  );
  assert.ok(page.includes(`| ${requests.join(', ')} |`), requests.join(', '));
  const connections = ratio('twonodes', 'new connections: kmesh / no mesh').toFixed(2);
  assert.ok(page.includes(`| ${connections} |`), connections);
});
