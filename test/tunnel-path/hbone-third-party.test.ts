import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import type { Pod } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { doubleEcho, listen } from '@kmesh/lab/testing/tunnel/traffic.ts';

// A third implementation of HTTP/2 beside Kmesh's and Node's: nghttp2's tools (Debian's nghttp2-client).
let mesh: TestMesh;
let client: { pod: Pod; workload: Workload };
let server: { pod: Pod; workload: Workload };
let directory: string;

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  client = await mesh.pod({ captured: false });
  server = await mesh.pod();
  mesh.own(await listen(server.pod, 8080, doubleEcho));
  directory = mkdtempSync(join(tmpdir(), 'kmesh-third-party-'));
  const { certificateChainPem, privateKeyPem } = mesh.authority.issue(client.workload);
  writeFileSync(join(directory, 'cert.pem'), certificateChainPem);
  writeFileSync(join(directory, 'key.pem'), privateKeyPem);
});
after(async () => {
  rmSync(directory, { recursive: true, force: true });
  await mesh[Symbol.asyncDispose]();
});

describe('HBONE with nghttp2’s tools', () => {
  const tls = (): string[] => [
    `--cert=${join(directory, 'cert.pem')}`,
    `--key=${join(directory, 'key.pem')}`,
  ];

  for (const family of ['v4', 'v6'] as const) {
    test(`INB-15, HBN-14: nghttp agrees with the settings of the contract and gets 400 for GET (IP${family})`, async () => {
      const ip = server.pod.addresses[family];
      const url = `https://${family === 'v4' ? ip : `[${ip}]`}:15008/`;
      const { stdout } = await client.pod.run('nghttp', ['-nv', ...tls(), url]);
      assert.match(stdout, /SETTINGS_INITIAL_WINDOW_SIZE\(0x04\):4194304/);
      assert.match(stdout, /SETTINGS_MAX_FRAME_SIZE\(0x05\):1048576/);
      assert.match(stdout, /SETTINGS_MAX_HEADER_LIST_SIZE\(0x06\):65536/);
      assert.match(stdout, /SETTINGS_MAX_CONCURRENT_STREAMS\(0x03\):200/);
      // Connection window: 16 MiB less the protocol's initial 65,535.
      assert.match(stdout, /window_size_increment=16711681/);
      assert.match(stdout, /:status: 400/);
      assert.doesNotMatch(stdout, /GOAWAY frame <.*error_code=(?!NO_ERROR)/);
    });
  }

  test('ROB-01: h2load’s requests on ten connections each get their answer', async () => {
    // h2load has no client certificate and is refused; the test checks that refusals neither hang nor leak.
    const { stdout } = await client.pod.run(
      'h2load',
      ['-n', '200', '-c', '10', '-m', '10', `https://${server.pod.addresses.v4}:15008/`],
      { check: false, timeoutMs: 20_000 },
    );
    assert.match(stdout, /requests: 200 total/);
    assert.match(stdout, /0 2xx/);
  });
});
