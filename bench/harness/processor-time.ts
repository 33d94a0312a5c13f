import { readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { gunzipSync } from 'node:zlib';

/**
 * Returns the CPU time of the processes of a cgroup and its descendants so far, in milliseconds, including kernel work
 * on their behalf: system calls, softirqs and BPF programs run in their time. Adds the kernel threads that process
 * packets, and interrupts where the kernel counts those separately; both for the whole machine.
 */
export function processorTime(cgroup: string): number {
  const [, usage] = /^usage_usec (\d+)/m.exec(readFileSync(`${cgroup}/cpu.stat`, 'utf8')) ?? [];
  return softirqThreads.reduce(
    (sum, pid) => {
      const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
      return sum + Number(nanoseconds) / 1_000_000;
    },
    Number(usage) / 1_000 + interruptTime(),
  );
}

/** Returns the CPU time of a process's threads so far, in milliseconds. No thread may end in the meantime. */
export function processTime(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    return sum + Number(nanoseconds) / 1_000_000;
  }, 0);
}

const softirqThreads = readdirSync('/proc').filter((pid) => {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('ksoftirqd/');
  } catch {
    return false;
  }
});

/** With CONFIG_IRQ_TIME_ACCOUNTING interrupts and the softirqs after them are in no process's time. */
const interruptsApart = /^CONFIG_IRQ_TIME_ACCOUNTING=y/m.test(kernelConfiguration());

function interruptTime(): number {
  if (!interruptsApart) return 0;
  const fields = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/\s+/).map(Number);
  const [irq = 0, softirq = 0] = fields.slice(6, 8);
  return (irq + softirq) * 10;
}

function kernelConfiguration(): string {
  for (const read of [
    () => gunzipSync(readFileSync('/proc/config.gz')).toString(),
    () => readFileSync(`/boot/config-${release()}`, 'utf8'),
  ]) {
    try {
      return read();
    } catch {
      // The configuration is elsewhere, or not available.
    }
  }
  return '';
}
