import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { podPrograms } from '@kmesh/runtime';

/** A search path with the programs that Kmesh's image has, and no others. */
export class ImagePrograms implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'kmesh-programs-'));

  constructor() {
    for (const program of podPrograms) {
      const found = execFileSync('which', [program], { encoding: 'utf8' }).trim();
      symlinkSync(found, join(this.path, program));
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}
