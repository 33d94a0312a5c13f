// Plain JavaScript that any Node.js since 18 understands: the commands themselves are TypeScript for a current one.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const oldest = 26;

/**
 * Runs a TypeScript program of this workspace: in this process where its Node.js can, else by the Node.js that the set-up
 * installed, else not at all, with one sentence that says what to do.
 *
 * @param {URL} program
 * @param {string} name of the command, for the sentence
 */
export async function run(program, name) {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= oldest && process.features.typescript) {
    await import(program.href);
    return;
  }
  const own = fileURLToPath(new URL('../../../node_modules/node/bin/node', import.meta.url));
  if (!existsSync(own)) {
    process.stderr.write(
      `${name}: this is Node.js ${process.versions.node}, and ${name} needs ${oldest} or newer: ` +
        'run "npm ci" in the directory of Kmesh, which installs it there, and then this command again\n',
    );
    process.exitCode = 1;
    return;
  }
  const child = spawn(own, [fileURLToPath(program), ...process.argv.slice(2)], { stdio: 'inherit' });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    for (const each of signals) process.removeAllListeners(each);
    if (signal !== null) process.kill(process.pid, signal);
    else process.exitCode = code ?? 1;
  });
}
