import { spawn } from 'node:child_process';
import { KmeshError } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';

/** All programs that the kernel path runs; the image has these and no others. The tunnel path runs none. */
export const podPrograms = ['sh', 'nsenter', 'nft', 'iptables-legacy-save', 'ip6tables-legacy-save'] as const;

/**
 * Runs a program of the node in a pod's network namespace and returns its output.
 *
 * @throws KMESH_POD_COMMAND_FAILED with its error output.
 */
export function runInNamespace(
  namespace: NetworkNamespace,
  command: readonly string[],
  input = '',
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // The namespace's descriptor becomes the child's descriptor 3.
  const child = spawn('nsenter', ['--net=/proc/self/fd/3', '--', ...command], {
    stdio: ['pipe', 'pipe', 'pipe', namespace.fd],
  });
  let output = '';
  let errors = '';
  const failed = (reason: string) =>
    reject(
      new KmeshError(
        'KMESH_POD_COMMAND_FAILED',
        `${command[0]} in a pod's network namespace failed: ${reason}`,
      ),
    );
  child.on('error', (error) => failed(error.message));
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  child.on('close', (code) => {
    if (code === 0) resolve(output);
    else failed(errors.trim() === '' ? `exit code ${code}` : errors.trim());
  });
  return promise;
}
