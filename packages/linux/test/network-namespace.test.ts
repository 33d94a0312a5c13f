import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { openSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { closeDescriptor, duplicateDescriptor } from '../src/descriptors.ts';
import {
  createNetworkNamespace,
  currentNetworkNamespace,
  networkNamespaceFromDescriptor,
  networkNamespaceOfProcess,
  openNetworkNamespace,
} from '../src/network-namespace.ts';
import { openListener } from '../src/socket.ts';

test('a namespace is opened by process, by path and by descriptor, and is the same one', () => {
  using own = currentNetworkNamespace();
  using byProcess = networkNamespaceOfProcess(process.pid);
  using byDescriptor = networkNamespaceFromDescriptor(duplicateDescriptor(own.fd));
  using made = createNetworkNamespace();
  using byPath = openNetworkNamespace(made.path);
  assert(own.sameAs(byProcess) && own.sameAs(byDescriptor));
  assert.equal(own.cookie, byDescriptor.cookie);
  assert(made.sameAs(byPath) && !made.sameAs(own));
  assert.equal(made.cookie, byPath.cookie);
  assert.notEqual(made.cookie, own.cookie);
  assert.equal(`net:[${own.inode}]`, readlinkSync('/proc/self/ns/net'));
});

test('a named namespace outlives its name while it is open', () => {
  const name = `kmesh-rt-${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  try {
    using namespace = openNetworkNamespace(`/run/netns/${name}`);
    execFileSync('ip', ['netns', 'delete', name]);
    assert(namespace.cookie > 0n);
    closeDescriptor(openListener({ namespace, address: '127.0.0.1', port: 80, freebind: true }));
  } catch (error) {
    execFileSync('sh', ['-c', `ip netns delete ${name} 2>/dev/null || true`]);
    throw error;
  }
});

test('a descriptor that is not a network namespace is refused and closed', () => {
  assert.throws(() => openNetworkNamespace('/proc/self/ns/mnt'), { code: 'KMESH_NAMESPACE_OPEN_FAILED' });
  assert.throws(() => openNetworkNamespace('/etc/hostname'), /is not a network namespace/);
  assert.throws(() => openNetworkNamespace('/run/netns/nobody'), { errnoName: 'ENOENT' });
  assert.throws(() => networkNamespaceOfProcess(0), { code: 'KMESH_INVALID_ARGUMENT' });
  const file = openSync('/etc/hostname', 'r');
  assert.throws(() => networkNamespaceFromDescriptor(file));
  assert.throws(() => closeDescriptor(file), { errnoName: 'EBADF' });
});

test('a closed namespace cannot be used, its duplicate can', () => {
  const namespace = createNetworkNamespace('short');
  using copy = namespace.duplicate();
  namespace.close();
  namespace.close();
  assert.throws(() => namespace.cookie, /network namespace short is closed/);
  assert(copy.cookie > 0n);
});

test('the thread is back in its own namespace after every call, failed ones too', () => {
  const before = readlinkSync('/proc/thread-self/ns/net');
  using namespace = createNetworkNamespace();
  closeDescriptor(openListener({ namespace, address: '127.0.0.1', port: 0 }));
  assert.throws(() => openListener({ namespace, address: '192.0.2.1', port: 0 }), {
    errnoName: 'EADDRNOTAVAIL',
  });
  assert.equal(readlinkSync('/proc/thread-self/ns/net'), before);
});
