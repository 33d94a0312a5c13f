import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { revokedVerdict } from '../src/engine/events.ts';
import { flowEndReason, sessionEndReason } from '../src/engine/gen/kinds.ts';
import { flowFailure, sessionFailure } from '../src/failure.ts';

const where = '10.0.0.1:15008';
const place = { peer: where, behind: '10.0.0.1:8080' };
const bytes = { bytesUp: 0, bytesDown: 0 };

describe('what the end of a connection means', () => {
  const flows: [string, keyof typeof flowEndReason, number, boolean, string | undefined, RegExp?][] = [
    ['a completed connection is no failure', 'complete', 0, true, undefined],
    ['a refused connect', 'connectFailed', 111, false, 'CONNECT', /ECONNREFUSED/],
    ['a connect that timed out', 'connectTimeout', 110, false, 'CONNECT', /timed out/],
    ['a denial by the peer', 'httpStatus', 401, true, 'CONNECT', /authorization policies/],
    ['a peer that does not serve the destination', 'httpStatus', 400, true, 'CONNECT', /does not serve/],
    ['a peer whose application is gone', 'httpStatus', 503, true, 'CONNECT', /application/],
    ['a peer whose application refused names it', 'httpStatus', 503, true, 'CONNECT', /10\.0\.0\.1:8080$/],
    ['a reset before the answer', 'unanswered', 8, true, 'CONNECT', /unanswered: HTTP\/2 error 8/],
    ['any other status', 'httpStatus', 302, true, 'CONNECT', /302/],
    ['a reset of plain TCP is normal', 'reset', 104, false, undefined],
    ['a broken pipe is normal', 'reset', 32, false, undefined],
    ['a cancelled stream is normal', 'reset', 8, true, undefined],
    ['an internal error of the peer', 'reset', 2, true, 'CONNECT', /HTTP\/2 error 2/],
    ['another socket error', 'reset', 110, false, 'CONNECT', /ETIMEDOUT/],
    ['a lost proxy connection', 'sessionLost', 0, true, 'CONNECT', /lost/],
    ['no descriptors left', 'setupFailed', 24, false, 'CONNECT', /file descriptors/],
    ['no right to enter the namespace', 'setupFailed', 1, false, 'CONNECT', /CAP_SYS_ADMIN/],
    ['closed by the proxy itself', 'aborted', 0, true, '-'],
  ];
  for (const [what, reason, code, tunnelled, flag, error] of flows) {
    test(`flow: ${what}`, () => {
      const failure = flowFailure({ reason: flowEndReason[reason], code, ...bytes }, place, tunnelled);
      assert.equal(failure?.flag, flag);
      if (error !== undefined) assert.match(failure?.error ?? '', error);
    });
  }

  const sessions: [string, keyof typeof sessionEndReason, number, string, RegExp][] = [
    ['a time-out hints at a NetworkPolicy', 'connectTimeout', 110, 'NETWORK_POLICY', /NetworkPolicy.*15008/],
    ['a refused connect', 'connectFailed', 111, 'CONNECT', /ECONNREFUSED/],
    ['a failed handshake', 'tlsFailed', 20, 'TLS_FAILURE', /TLS handshake with 10\.0\.0\.1:15008/],
    ['a revoked certificate', 'tlsFailed', revokedVerdict, 'CERT_REVOKED', /revoked/],
    ['a protocol failure', 'http2Failed', 0, 'H2_HANDSHAKE_FAILURE', /HTTP\/2/],
    ['a peer that fell silent', 'pingTimeout', 0, 'CONNECT', /stopped answering/],
    ['a gateway that refused', 'carrierFailed', 503, 'CONNECT', /tunnel through/],
  ];
  for (const [what, reason, code, flag, error] of sessions) {
    test(`session: ${what}`, () => {
      const failure = sessionFailure({ reason: sessionEndReason[reason], code, text: 'details' }, where);
      assert.equal(failure.flag, flag);
      assert.match(failure.error, error);
    });
  }
});
