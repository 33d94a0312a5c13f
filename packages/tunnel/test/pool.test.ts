import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { Engine } from '../src/engine/engine.ts';
import type { SessionHandler } from '../src/engine/handlers.ts';
import type { TunnelHandle } from '../src/engine/native.ts';
import { type OwnContext, type PooledSession, type PoolTarget, SessionPool } from '../src/outbound/pool.ts';

/** An engine that connects when the test triggers it. */
class FakeEngine {
  readonly opened: { id: number; handler: SessionHandler }[] = [];
  readonly drained: number[] = [];
  readonly aborted: number[] = [];

  connectSession(_to: unknown, _context: unknown, _identities: unknown, handler: SessionHandler): number {
    const id = this.opened.length + 1;
    this.opened.push({ id, handler });
    return id;
  }

  drainSession(id: number): void {
    this.drained.push(id);
  }

  abortSession(id: number): void {
    this.aborted.push(id);
  }

  ready(at: number, streamLimit = 100): void {
    this.opened[at]?.handler.ready({ streamLimit, peerNames: [], peerChain: [] });
  }
}

const target: PoolTarget = {
  sourceIdentity: 'spiffe://td/ns/a/sa/b',
  sourceIp: '10.0.0.1',
  acceptedIdentities: ['spiffe://td/ns/c/sa/d'],
  ip: '10.0.0.2',
  port: 15008,
};

const own: OwnContext = {
  handle: {} as TunnelHandle,
  certificate: { certificateChainPem: '', privateKeyPem: '', rootsPem: [] },
  revision: 1,
};

let engine: FakeEngine;
let revoked: boolean;
let pool: SessionPool;
let got: (PooledSession | string)[];

function acquire(): void {
  pool.acquire(target, (answer) => {
    if ('session' in answer) got.push(answer.session);
    else got.push('failed' in answer ? answer.failed.text : answer.error.code);
  });
}

beforeEach(() => {
  engine = new FakeEngine();
  got = [];
  revoked = false;
  pool = new SessionPool({
    engine: engine as unknown as Engine,
    namespace: 0,
    maximumStreams: 2,
    releaseMilliseconds: 60_000,
    connectTimeoutMilliseconds: 1_000,
    context: () => own,
    isRevoked: () => revoked,
    isRevokedSince: () => false,
  });
});

describe('the pool', () => {
  test('makes one attempt per key, which all callers wait for', () => {
    acquire();
    acquire();
    assert.equal(engine.opened.length, 1);
    engine.ready(0);
    assert.equal(got.length, 2);
    assert.equal(new Set(got).size, 1);
  });

  test('a full session leaves the pool for good and is drained with its last stream', () => {
    acquire();
    acquire();
    engine.ready(0);
    acquire();
    assert.equal(engine.opened.length, 2);
    const [first] = got as PooledSession[];
    assert.ok(first);
    pool.release(first);
    assert.deepEqual(engine.drained, []);
    pool.release(first);
    assert.deepEqual(engine.drained, [1]);
  });

  test('waiting callers beyond the limit get the next session', () => {
    for (let caller = 0; caller < 5; caller++) acquire();
    engine.ready(0);
    assert.deepEqual([got.length, engine.opened.length], [2, 2]);
    engine.ready(1);
    engine.ready(2);
    assert.equal(got.length, 5);
  });

  test('callers of a server that allows no streams fail after four connections, or get one that does', () => {
    acquire();
    for (let at = 0; at < 3; at++) engine.ready(at, 0);
    assert.deepEqual([engine.opened.length, got], [4, []]);
    engine.ready(3, 0);
    assert.deepEqual([engine.opened.length, got], [4, ['it allows no streams']]);
    assert.deepEqual(engine.drained, [1, 2, 3, 4]);
    acquire();
    engine.ready(4, 0);
    engine.ready(5, 1);
    assert.equal(typeof got.at(-1), 'object');
    acquire();
    for (let at = 6; at < 9; at++) engine.ready(at, 0);
    assert.equal(got.length, 2);
  });

  test("the peer's own limit counts when it is lower, also when it changes", () => {
    acquire();
    engine.ready(0, 1);
    acquire();
    assert.equal(engine.opened.length, 2);
  });

  test('a failed attempt fails all waiting callers, and the next caller tries again', () => {
    acquire();
    acquire();
    engine.opened[0]?.handler.closed({ reason: 1, code: 111, text: 'refused' });
    assert.deepEqual(got, ['refused', 'refused']);
    acquire();
    assert.equal(engine.opened.length, 2);
  });

  test('GOAWAY takes a session out of the pool, its streams stay', () => {
    acquire();
    engine.ready(0);
    engine.opened[0]?.handler.draining?.();
    assert.deepEqual(engine.drained, []);
    acquire();
    assert.equal(engine.opened.length, 2);
    pool.release(got[0] as PooledSession);
    assert.deepEqual(engine.drained, [1]);
  });

  const pooling = (maximumStreams: number, onPlannedLeft: () => void): SessionPool =>
    new SessionPool({
      engine: engine as unknown as Engine,
      namespace: 0,
      maximumStreams,
      releaseMilliseconds: 60_000,
      onPlannedLeft,
      connectTimeoutMilliseconds: 1_000,
      context: () => own,
      isRevoked: () => revoked,
      isRevokedSince: () => false,
    });

  test('plans open no more streams than a session allows, and end when it accepts no more', () => {
    let left = 0;
    pool = pooling(20, () => {
      left += 1;
    });
    acquire();
    engine.ready(0);
    const [session] = got as [PooledSession];
    assert.equal(pool.plan(session), 20);
    for (let more = 1; more < 19; more++) pool.adopt(session);
    acquire();
    assert.deepEqual([engine.opened.length, left], [1, 1]);
    // A stream that the engine opened before it received the new limit.
    pool.adopt(session);
    assert.equal(pool.plan(session), 0);
    acquire();
    assert.equal(engine.opened.length, 2);
    for (let stream = 0; stream < 21; stream++) {
      assert.deepEqual(engine.drained, []);
      pool.release(session);
    }
    assert.deepEqual(engine.drained, [1]);
  });

  test('a session with few streams gets no plans, and a change of its limit ends them', () => {
    acquire();
    engine.ready(0);
    assert.equal(pool.plan(got[0] as PooledSession), 0);
    let left = 0;
    pool = pooling(100, () => {
      left += 1;
    });
    acquire();
    engine.ready(1, 50);
    assert.equal(pool.plan(got[1] as PooledSession), 50);
    engine.opened[1]?.handler.limit?.(10);
    assert.equal(left, 1);
    assert.equal(pool.plan(got[1] as PooledSession), 0);
  });

  test('a session whose limit falls to its streams takes no more, and ends with the last', () => {
    acquire();
    engine.ready(0);
    engine.opened[0]?.handler.limit?.(1);
    acquire();
    assert.equal(engine.opened.length, 2);
    pool.release(got[0] as PooledSession);
    assert.deepEqual(engine.drained, [1]);
  });

  test('a session that goes out of use while plans use it ends them, and takes nothing more', () => {
    let left = 0;
    pool = pooling(20, () => {
      left += 1;
    });
    acquire();
    engine.ready(0);
    const [session] = got as [PooledSession];
    assert.equal(pool.plan(session), 20);
    pool.retire(session);
    assert.deepEqual([left, pool.plan(session), engine.drained], [1, 0, []]);
    acquire();
    assert.equal(engine.opened.length, 2);
    pool.release(session);
    assert.deepEqual(engine.drained, [1]);
  });

  test('where the own certificate is revoked and the peer has not noticed, nothing is sent', () => {
    revoked = true;
    acquire();
    acquire();
    engine.ready(0);
    assert.deepEqual(got, ['KMESH_TUNNEL_CERTIFICATE_REVOKED', 'KMESH_TUNNEL_CERTIFICATE_REVOKED']);
    assert.deepEqual(engine.drained, [1]);
    revoked = false;
    acquire();
    engine.ready(1);
    assert.equal(typeof got.at(-1), 'object');
  });

  test('after close nobody gets a session', () => {
    acquire();
    engine.ready(0);
    pool.close(true);
    assert.deepEqual(engine.aborted, [1]);
    acquire();
    assert.equal(got.at(-1), 'KMESH_TUNNEL_CLOSED');
  });
});
