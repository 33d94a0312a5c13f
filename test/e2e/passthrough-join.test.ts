import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Policy } from '@kmesh/api';
import type { Host, Pod } from '@kmesh/lab';
import { type JoinPrograms, loadJoinPrograms } from '@kmesh/tunnel';
import { startTestMesh, type TestMesh } from '../conformance/tunnel-support/mesh.ts';
import { connect, ending, listen, readExactly } from '../conformance/tunnel-support/traffic.ts';
import { dialOracle, type OracleDial, oracleStyles, serveOracle, startOracle } from './redirect-oracle.ts';

/** KMESH_TEST_LONG multiplies the rounds of every style and takes all thousand connections through them. */
const LONG = Number(process.env['KMESH_TEST_LONG'] ?? 0);
const CONNECTIONS = LONG > 0 ? 64 : 8;
const ROUNDS = 150 * Math.max(1, LONG);
const MIB = 2 ** 20;
const HELD_LIMIT = 48 * MIB;

let programs: JoinPrograms;
let mesh: TestMesh;
let outside: Host;
let inside: Pod;
let port = 7000;

before(async () => {
  programs = await loadJoinPrograms(1);
  mesh = await startTestMesh({ nodes: 1, joins: programs });
  outside = (await mesh.pod({ captured: false, name: 'outside' })).pod;
  inside = (await mesh.pod({ name: 'inside' })).pod;
});
after(async () => {
  await mesh?.[Symbol.asyncDispose]();
  programs?.[Symbol.dispose]();
});

const joined = () => mesh.proxy(0).tunnel.joinCounts;

const ways = {
  'into a captured pod': () => ({ from: outside, to: inside }),
  'from a captured pod out of the mesh': () => ({ from: inside as Host, to: outside }),
};

for (const [way, ends] of Object.entries(ways)) {
  describe(`plaintext ${way}, joined in the kernel`, () => {
    for (const [seed, style] of oracleStyles.entries()) {
      for (const largest of [2_000, 30_000]) {
        test(`no byte is lost, doubled or reordered in style ${style}, messages up to ${largest} bytes`, async () => {
          const { from, to } = ends();
          const before = joined().joined;
          const oracle = await serveOracle(to, ++port);
          const dial = { style, connections: CONNECTIONS, rounds: ROUNDS, largest, seed };
          const dialled = await dialOracle(from, to, port, dial);
          const served = await oracle.finish();
          assert.deepEqual([dialled.failures, served.failures], [0, 0]);
          assert.deepEqual([dialled.connections, served.connections], [CONNECTIONS, CONNECTIONS]);
          if (largest === 2_000 && style !== 'duplex') assert.ok(joined().joined > before);
        });
      }
    }

    test('a reader that does not read holds the sender back, and gets every byte later', async () => {
      const { from, to } = ends();
      const oracle = await serveOracle(to, ++port);
      const dial = { style: 'hold', connections: 2, rounds: 1, largest: 64 * MIB, seed: 1 };
      const dialled = await dialOracle(from, to, port, dial);
      const served = await oracle.finish();
      assert.deepEqual([dialled.failures, served.failures, served.connections], [0, 0, 2]);
      assert.ok(dialled.held > 0 && dialled.held < HELD_LIMIT, `${dialled.held} bytes were taken`);
    });

    test('a thousand connections at once exchange every byte', async () => {
      const { from, to } = ends();
      const before = joined().joined;
      const oracle = await serveOracle(to, ++port);
      const dial: OracleDial = { style: 'mix', connections: 1000, rounds: 30 * Math.max(1, LONG), largest: 500, seed: 2 };
      const dialled = await dialOracle(from, to, port, dial);
      const served = await oracle.finish();
      assert.deepEqual([dialled.failures, served.failures], [0, 0]);
      assert.deepEqual([dialled.connections, served.connections], [1000, 1000]);
      assert.ok(joined().joined >= before + 900, `${joined().joined - before} were joined`);
    });

    test('programs that are killed leave no wrong byte behind', async () => {
      const { from, to } = ends();
      for (const victim of ['client', 'server'] as const) {
        const oracle = await serveOracle(to, ++port, true);
        const dial = { style: 'mix', connections: 8, rounds: 100_000, largest: 2_000, seed: 2 };
        const child = startOracle(from, to, port, dial);
        let output = '';
        child.stdout?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
        const ended = new Promise((resolve) => child.once('close', resolve));
        await delay(300);
        if (victim === 'client') child.kill('SIGKILL');
        else process.kill(oracle.pid, 'SIGKILL');
        await ended;
        const { failures, broken } =
          victim === 'client' ? await oracle.finish() : (JSON.parse(output) as { failures: number; broken: number });
        assert.deepEqual([failures, broken], [0, 8]);
      }
    });
  });
}
