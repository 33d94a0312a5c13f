/**
 * The fake istiod as a separate process, for benchmarks and the demo:
 *
 *     node packages/lab/src/istiod/main.ts --mesh mesh.yaml
 *     node packages/lab/src/istiod/main.ts --generate 10000 --services 500
 *
 * The first line on standard output is JSON with `event: "ready"` and the addresses, root and token. Each line on
 * standard input is a control command, answered by one line. The end of standard input, or SIGTERM, ends it; the exit
 * code is 1 when a client broke the protocol.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { watchLocalMesh } from '@kmesh/controller';
import { startFakeIstiod } from './fake-istiod.ts';
import { generateMesh } from './generate-mesh.ts';
import type { FakeIstiodOptions } from './istiod-interface.ts';
import { type ControlCommand, type GeneratedPart, IstiodControl } from './istiod-process.ts';

const { values } = parseArgs({
  options: {
    mesh: { type: 'string' },
    generate: { type: 'string' },
    services: { type: 'string' },
    nodes: { type: 'string' },
    host: { type: 'string' },
    port: { type: 'string' },
    'plaintext-port': { type: 'string' },
    token: { type: 'string' },
    'root-file': { type: 'string' },
    'token-file': { type: 'string' },
    'certificate-lifetime': { type: 'string' },
    'maximum-request-bytes': { type: 'string' },
  },
});

function say(event: string, fields: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

const workloads = Number(values.generate ?? 0);
const generated: GeneratedPart = {
  workloads,
  services: Number(values.services ?? Math.ceil(workloads / 20)),
  nodes: Number(values.nodes ?? 100),
};
const options: FakeIstiodOptions = {
  mesh: workloads > 0 ? generateMesh(generated) : [],
  ...(values.host === undefined ? {} : { host: values.host }),
  ...(values.port === undefined ? {} : { port: Number(values.port) }),
  ...(values['plaintext-port'] === undefined ? {} : { plaintextPort: Number(values['plaintext-port']) }),
  ...(values.token === undefined ? {} : { token: values.token }),
  ...(values['certificate-lifetime'] === undefined
    ? {}
    : { certificates: { lifetimeSeconds: Number(values['certificate-lifetime']) } }),
  ...(values['maximum-request-bytes'] === undefined
    ? {}
    : { maximumRequestBytes: Number(values['maximum-request-bytes']) }),
};

const istiod = await startFakeIstiod(options);
const watch =
  values.mesh === undefined
    ? undefined
    : await watchLocalMesh(
        values.mesh,
        (updates) => istiod.update(updates),
        (error) => say('error', { message: error.message }),
      );
if (values['root-file'] !== undefined) writeFileSync(values['root-file'], istiod.rootPem);
if (values['token-file'] !== undefined) writeFileSync(values['token-file'], istiod.token, { mode: 0o600 });

const lines = createInterface({ input: process.stdin });
process.once('SIGTERM', () => lines.close());
process.once('SIGINT', () => lines.close());

const control = new IstiodControl(istiod, generated);
lines.on('line', (line) => {
  const answer = async (): Promise<void> => {
    const command = JSON.parse(line) as ControlCommand;
    if (command.command === 'close') lines.close();
    else say('done', { command: command.command, ...(await control.run(command)) });
  };
  answer().catch((error: unknown) =>
    say('error', { message: error instanceof Error ? error.message : String(error) }),
  );
});
say('ready', {
  xdsAddress: istiod.xdsAddress,
  caAddress: istiod.caAddress,
  plaintextXdsAddress: istiod.plaintextXdsAddress,
  rootPem: istiod.rootPem,
  token: istiod.token,
});

await once(lines, 'close');
await watch?.close();
try {
  await istiod.close();
} catch (error) {
  say('error', { message: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
// Handles of the gRPC library may linger for seconds.
process.exit();
