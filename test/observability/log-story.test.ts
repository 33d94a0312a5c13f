/** The log at its default level for a start, an outage and an end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, startMesh } from '@kmesh/lab';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';

/** Level and message of each line, without those of connections. */
function storyOf(log: string): string[] {
  return log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'))
    .filter(([, , scope]) => scope !== 'access')
    .map(([, level, , message = '', fields = '']) =>
      `${level} ${message.replace(/^version\.BuildInfo.*/, 'version')} ${fields}`
        .replaceAll(/(address|cgroup|pins|milliseconds|error)=("[^"]*"|\d+)/g, '$1')
        .trim(),
    );
}

test('the log reports the start, each pod, an outage of the control plane and its end, and the drain', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const { proxy } = mesh.node();
  const { pod: client } = await mesh.pod({ name: 'client' });
  await untilEnrolled(mesh, [client]);
  await eventually('the pod is logged', () => proxy.log.includes('pod="default/client"'));

  await mesh.istiod.faults.refuse(true);
  mesh.istiod.faults.dropConnections();
  await eventually('the outage is logged', () => proxy.log.includes('xDS connection failed'));
  await mesh.istiod.faults.refuse(false);
  await eventually('its end is logged', () => proxy.log.includes('connected again'));
  await mesh.node().agent.removePod(client);
  await eventually('the removed pod is logged', () => proxy.log.includes('no longer served'));
  await proxy.stop();

  const story = storyOf(proxy.log);
  assert.ok(story.some((line) => line.startsWith('warn xDS connection failed')));
  // A node of the lab is not the machine, and the number of failed attempts depends on the back-off.
  const unsaid = /^(warn|info) (xDS |the node's network namespace is out of reach)/;
  assert.deepEqual(
    story.filter((line) => !unsaid.test(line)),
    [
      'info version',
      'info the control plane is connected address',
      'info mesh state received workloads=1 services=0 policies=0',
      'info the CNI agent is connected pods=0',
      'info kernel path enabled cgroup pins',
      'info ready milliseconds',
      'info a pod is served pod="default/client"',
      'info the control plane is connected again address',
      'info a pod is no longer served pod="default/client"',
      'info draining cause="SIGTERM" deadline="5000ms"',
    ],
  );
});
