import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCarriedAddon } from '../src/program-files.ts';

test('addons that are loaded from unnamed files one after another are kept apart', () => {
  const [linux, tunnel] = ['kmesh-linux.node', 'kmesh-tunnel.node'].map(
    (name) => loadCarriedAddon(name) as Record<string, unknown>,
  );
  assert.equal(typeof linux?.['tcpSockets'], 'function');
  assert.equal(typeof tunnel?.['nghttp2Headers'], 'string');
});
