import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const bpf = fileURLToPath(new URL('../../bpf/', import.meta.url));
const model = fileURLToPath(new URL('./model/', import.meta.url));

/** Outcome of one story; see interleavings.c. */
interface Outcome {
  readonly change?: string;
  readonly orders: number;
  readonly with_passage: number;
  readonly leaks: number;
}

/** The checks of judge.h: without any one of them the model must find a leak. */
const checks = [
  {
    what: 'whether the verdicts are those of the last judgement',
    without: ['if (judged.generation == seen->stamp.generation)', 'if (judged.generation || true)'],
  },
  {
    what: 'whether the client is certain',
    without: ['if (!client->identity || !server->identity ||', 'if (!server->identity ||'],
  },
  {
    what: 'whose memory was read',
    without: ['return to->stamp.tuple == tuple;', 'return tuple == tuple;'],
  },
  {
    what: 'whether both ends are still where they were',
    without: ['if (client->interface != seen->client_interface ||', 'if (client != client ||'],
    and: ['server->interface != seen->server_interface)', 'server != server)'],
  },
  {
    what: 'what policy says',
    without: ['if (is_allowed(server->workload, client->identity, port_be))', 'if (port_be)'],
  },
  {
    what: 'the interface from which a packet comes',
    without: [
      'if (segment->interface != (by_client ? seen.client_interface : seen.server_interface))',
      'if (by_client && segment->interface == 0)',
    ],
  },
  {
    what: 'whether the wire delivered it',
    without: [
      'return passage == PASSAGE_ALLOWED && seen.delivered ? PASSAGE_REFUSED : passage;',
      'return passage;',
    ],
  },
  {
    what: 'the lease of a live connection',
    without: ['delivery->passage = expired ? PASSAGE_REFUSED : judge(', 'delivery->passage = judge('],
  },
  {
    what: 'a first packet at its destination',
    without: [
      'seen.sequence != sequence || seen.client_is_high == lower)\n\t\treturn PASSAGE_UNKNOWN;\n\treturn judge(lease, connection, &seen, &key);',
      'seen.sequence != sequence || seen.client_is_high == lower)\n\t\treturn PASSAGE_UNKNOWN;\n\treturn PASSAGE_ALLOWED;',
    ],
  },
] as const;

describe('the judgement of packets, compiled for user space', () => {
  let directory = '';
  let program = '';

  before(() => {
    directory = mkdtempSync(`${tmpdir()}/kmesh-model-`);
    program = compile(model, `${directory}/interleavings`);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function compile(folder: string, output: string): string {
    execFileSync('cc', ['-O1', '-Wall', '-Wextra', `-I${folder}`, '-o', output, `${folder}interleavings.c`], {
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    return output;
  }

  /** Builds the model of a `judge.h` without one check. */
  function compileWithout(...[name, changes]: [string, readonly (readonly [string, string])[]]): string {
    const tree = `${directory}/${name}/`;
    const folder = `${tree}test/kernel-path/model/`;
    mkdirSync(folder, { recursive: true });
    cpSync(bpf, `${tree}bpf`, { recursive: true });
    cpSync(model, folder, { recursive: true });
    let text = readFileSync(`${bpf}judge.h`, 'utf8');
    for (const [from, to] of changes) {
      assert.equal(text.split(from).length, 2, `judge.h has once: ${from}`);
      text = text.replace(from, to);
    }
    writeFileSync(`${tree}bpf/judge.h`, text);
    return compile(folder, `${tree}interleavings`);
  }

  function run(
    parameters: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    executable = program,
  ): Outcome[] {
    const text = execFileSync(executable, [...parameters], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Outcome);
  }

  test('NEG-10: in every order of table accesses no packet passes that an earlier change forbids', () => {
    const outcomes = run(['exhaustive']);
    assert.equal(outcomes.length, 10);
    for (const { change, orders, with_passage, leaks } of outcomes) {
      assert.equal(leaks, 0, change ?? '');
      assert.ok(orders > 50 && with_passage > 0, `${change}: ${orders} orders, ${with_passage} with passage`);
    }
  });

  test('NEG-10: in 100,000 random orders of longer histories, with reused memory and spoofed packets, none passes either', () => {
    const [outcome] = run(['random', '100000', '1']);
    assert.equal(outcome?.orders, 100_000);
    assert.equal(outcome?.leaks, 0);
    assert.ok((outcome?.with_passage ?? 0) > 10_000);
  });

  test('the model detects a daemon that does not invalidate old judgements', () => {
    const [outcome] = run(['random', '2000', '1'], { CARELESS: '1' });
    assert.ok((outcome?.leaks ?? 0) > 0);
  });

  for (const [at, check] of checks.entries()) {
    test(`the model detects a judgement without this check: ${check.what}`, () => {
      const changes = [check.without, ...('and' in check ? [check.and] : [])];
      const [outcome] = run(['random', '30000', '1'], {}, compileWithout(`${at}`, changes));
      assert.ok((outcome?.leaks ?? 0) > 0);
    });
  }
});
