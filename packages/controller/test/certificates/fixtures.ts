import { execFileSync } from 'node:child_process';
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Identity } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { CertificateSource, IssuedCertificate } from '../../src/certificates/certificate-manager.ts';
import type { Clock } from '../../src/certificates/clock.ts';

/** Runs everything that waits only for promises. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A clock that the test advances. */
export interface TestClock extends Clock {
  /** Passes time, running timers in order. */
  advance(milliseconds: number): Promise<void>;
  /** Sets the wall clock without any time passing. */
  jump(milliseconds: number): void;
  readonly timers: number;
}

export function testClock(start = Date.parse('2026-06-01T00:00:00Z')): TestClock {
  let wall = start;
  let elapsed = 0;
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  return {
    now: () => wall,
    monotonic: () => elapsed,
    after: (milliseconds, callback) => {
      const timer = { at: elapsed + milliseconds, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    jump: (milliseconds) => {
      wall += milliseconds;
    },
    get timers() {
      return timers.size;
    },
    advance: async (milliseconds) => {
      const end = elapsed + milliseconds;
      for (;;) {
        await settle();
        const [next] = [...timers]
          .filter((timer) => timer.at <= end)
          .sort((left, right) => left.at - right.at);
        if (next === undefined) break;
        timers.delete(next);
        wall += Math.max(0, next.at - elapsed);
        elapsed = Math.max(elapsed, next.at);
        next.callback();
      }
      wall += end - elapsed;
      elapsed = end;
      await settle();
    },
  };
}

export function identity(serviceAccount: string): Identity {
  return { trustDomain: 'cluster.local', namespace: 'default', serviceAccount };
}

function makeMaterial(): { readonly leaf: X509Certificate; readonly privateKey: KeyObject } {
  const directory = mkdtempSync(join(tmpdir(), `kmesh-fixture-${process.pid}-`));
  try {
    const [key, certificate] = [join(directory, 'key'), join(directory, 'certificate')];
    execFileSync(
      'openssl',
      // prettier-ignore
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        key,
        '-out',
        certificate,
        '-subj',
        '/CN=fixture',
        '-days',
        '2',
      ],
      { stdio: 'ignore' },
    );
    writeFileSync(join(directory, 'done'), '');
    return {
      leaf: new X509Certificate(readFileSync(certificate)),
      privateKey: createPrivateKey(readFileSync(key)),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One real certificate with its key, made by OpenSSL. */
export const material = makeMaterial();

/** A certificate with other dates, for code that reads only those. */
export function issued(notBefore: number, notAfter: number): IssuedCertificate {
  const leaf = Object.create(material.leaf, {
    validFromDate: { value: new Date(notBefore) },
    validToDate: { value: new Date(notAfter) },
    serialNumber: { value: material.leaf.serialNumber },
    toString: { value: () => material.leaf.toString() },
  }) as X509Certificate;
  return { chain: [leaf], roots: [material.leaf], privateKey: material.privateKey };
}

/** An authority in memory whose answers the test sends one by one. */
export interface ManualAuthority {
  readonly source: CertificateSource;
  /** Account names in the order in which calls started. */
  readonly calls: string[];
  readonly pending: readonly string[];
  /** Answers the oldest call of this account. */
  answer(serviceAccount: string, result: IssuedCertificate | Error): Promise<void>;
}

export function manualAuthority(): ManualAuthority {
  const calls: string[] = [];
  const pending: { account: string; settle: (result: IssuedCertificate | Error) => void }[] = [];
  return {
    calls,
    get pending() {
      return pending.map((call) => call.account);
    },
    source: (wanted) =>
      new Promise((resolve, reject) => {
        calls.push(wanted.serviceAccount);
        pending.push({
          account: wanted.serviceAccount,
          settle: (result) => (result instanceof Error ? reject(result) : resolve(result)),
        });
      }),
    answer: async (serviceAccount, result) => {
      const index = pending.findIndex((call) => call.account === serviceAccount);
      const [call] = pending.splice(index, 1);
      if (index < 0 || call === undefined) throw new Error(`no call for ${serviceAccount} is under way`);
      call.settle(result);
      await settle();
    },
  };
}

/** An authority that always answers with this lifetime, measured from the clock's now plus an offset. */
export function promptAuthority(
  clock: Clock,
  lifetimeMilliseconds: number,
  offset: () => number = () => 0,
): { readonly source: CertificateSource; readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    source: (wanted) => {
      calls.push(formatIdentityUri(wanted));
      const start = clock.now() + offset();
      return Promise.resolve(issued(start, start + lifetimeMilliseconds));
    },
  };
}
