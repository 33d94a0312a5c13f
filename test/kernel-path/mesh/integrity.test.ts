import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import {
  dialHeld,
  dialOracle,
  oracleStyles,
  serveOracle,
  startOracle,
} from '@kmesh/lab/testing/kernel/integrity-oracle.ts';
import {
  type OracleMesh,
  type OraclePath,
  oraclePaths,
  startOracleMesh,
} from '@kmesh/lab/testing/kernel/oracle-mesh.ts';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { untilCarrying } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';

const MIB = 2 ** 20;
const CONNECTIONS = 6;
const ROUNDS = repetitions({ ci: 40, full: 100 });
/** Maximum bytes that buffers of sockets and proxies may take from a connection that is not read. */
const HELD_LIMIT = 48 * MIB;
const HELD_BYTES = 2 * HELD_LIMIT;

for (const name of Object.keys(oraclePaths) as OraclePath[]) {
  describe(`bytes over ${name}`, () => {
    const { path } = oraclePaths[name];
    let mesh: OracleMesh;
    let port = 7000;
    let connections = 0;

    before(async () => {
      mesh = await startOracleMesh(name);
    });
    after(() => mesh?.[Symbol.asyncDispose]());

    for (const [seed, style] of oracleStyles.entries()) {
      test(`BPF-04: no byte is lost, doubled or reordered in style ${style}`, async () => {
        const oracle = await serveOracle(mesh.server, ++port);
        const dial = { style, connections: CONNECTIONS, rounds: ROUNDS, largest: 30_000, seed };
        const dialled = await dialOracle(mesh.client, mesh.server, port, dial);
        const served = await oracle.finish();
        connections += CONNECTIONS;
        assert.deepEqual([dialled.failures, served.failures], [0, 0]);
        assert.deepEqual([dialled.connections, served.connections], [CONNECTIONS, CONNECTIONS]);
      });
    }

    test('a receiver that does not read stops the sender, and gets every byte later', async () => {
      const oracle = await serveOracle(mesh.server, ++port);
      const before = mesh.proxyMemory();
      let grown = 0;
      let sampling: NodeJS.Timeout | undefined;
      const sample = (): void => {
        grown = Math.max(grown, mesh.proxyMemory() - before);
      };
      const dial = { connections: 2, largest: HELD_BYTES, seed: 1 };
      // While the sender is stopped, and while the held bytes are transferred.
      const dialled = await dialHeld(mesh.client, mesh.server, port, dial, oracle, () => {
        sample();
        sampling = setInterval(sample, 5);
      }).finally(() => clearInterval(sampling));
      const served = await oracle.finish();
      connections += 2;
      assert.deepEqual([dialled.failures, served.failures, served.connections], [0, 0, 2]);
      assert.ok(served.bytes >= 2 * HELD_BYTES);
      assert.ok(dialled.held > 0 && dialled.held < HELD_LIMIT, `${dialled.held} bytes were accepted`);
      assert.ok(grown < HELD_LIMIT, `the proxies grew by ${grown} bytes`);
      await eventually(
        'the proxies give back what they held',
        () => mesh.proxyMemory() - before < HELD_LIMIT,
      );
    });

    test('killing clients and servers causes no wrong byte', async () => {
      for (const victim of ['client', 'server'] as const) {
        const oracle = await serveOracle(mesh.server, ++port, true);
        const dial = { style: 'mix', connections: 8, rounds: 100_000, largest: 20_000, seed: port };
        const child = startOracle(mesh.client, mesh.server, port, dial);
        let output = '';
        child.stdout?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
        const ended = new Promise((resolve) => child.once('close', resolve));
        await untilCarrying(mesh.server, port, 8);
        connections += 8;
        if (victim === 'client') {
          child.kill('SIGKILL');
          await ended;
          const { failures, broken } = await oracle.finish();
          assert.deepEqual([failures, broken], [0, 8]);
        } else {
          process.kill(oracle.pid, 'SIGKILL');
          await ended;
          const { failures, broken } = JSON.parse(output) as { failures: number; broken: number };
          assert.deepEqual([failures, broken], [0, 8]);
        }
      }
    });

    test('BPF-05: all of them took the expected path', async () => {
      const logged = () => Object.values(mesh.paths()).reduce((sum, count) => sum + count, 0);
      await eventually(`${connections} lines`, () => logged() >= connections);
      assert.equal(logged(), connections);
      // Simultaneous connects may use the same entry in the connect hook: one of them takes the tunnel path then.
      const least = path === 'kernel' ? 0.9 * connections : connections;
      assert.ok((mesh.paths()[path] ?? 0) >= least, JSON.stringify(mesh.paths()));
    });
  });
}
