/** nginx and wrk of the suite: answers of a few KiB. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pod } from '@kmesh/lab';

/** Starts nginx with one worker in a pod, which answers `/4k` and `/12k`; it ends with the lab. */
export function startNginx(pod: Pod, port: number, stack: AsyncDisposableStack): void {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-passthrough-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const configuration = join(directory, 'nginx.conf');
  const answers = [4, 12].map(
    (size) => `location /${size}k { default_type text/plain; return 200 "${'$piece'.repeat(size)}"; }`,
  );
  writeFileSync(
    configuration,
    `daemon off; master_process off; pid ${directory}/pid; error_log /dev/null;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  server { listen ${port}; set $piece "${'x'.repeat(1024)}"; ${answers.join(' ')} }
}
`,
  );
  pod.spawn('nginx', ['-c', configuration], { stdio: 'ignore' });
}

/** Requests per second that wrk gets with one thread. @throws Error when a request failed. */
export async function runWrk(
  client: Pod,
  url: string,
  connections: number,
  seconds: number,
): Promise<number> {
  const { stdout } = await client.run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url]);
  if (/Socket errors|Non-2xx/.test(stdout)) throw new Error(`wrk in ${client.namespace}: ${stdout}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}
