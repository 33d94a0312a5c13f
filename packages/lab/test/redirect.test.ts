import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installProbeSource, installRedirect, removeRedirect } from '../src/cni/redirect.ts';
import type { RedirectOptions } from '../src/cni/rule-options.ts';
import { createLab } from '../src/network/lab.ts';
import type { Host } from '../src/pods/host.ts';

for (const variant of ['iptables', 'nftables'] as const) {
  test(`${variant}: connections of a captured pod are redirected in both directions and families, but not those to itself`, async () => {
    await using lab = await createLab();
    const node = await lab.node();
    const client = await node.pod({ name: 'client' });
    const server = await node.pod({ name: 'server' });
    await client.serve({ port: 15001, name: 'outbound' });
    await client.serve({ port: 8080, name: 'client' });
    for (const [port, name] of [
      [15006, 'plaintext'],
      [15008, 'hbone'],
      [8080, 'server'],
      [8081, 'other'],
    ] as const) {
      await server.serve({ port, name });
    }
    const options: RedirectOptions = { variant };
    const answerOf = async (from: Host, to: Host, port: number) => {
      const targets = [`${to.addresses.v4}:${port}`, `[${to.addresses.v6}]:${port}`];
      const report = await from.dial({ to: targets, connections: 2, timeoutMs: 1000 });
      const names = Object.keys(report.byEndpoint);
      return report.failed > 0 ? report.failures.map((failure) => failure.reason).join() : names.join();
    };

    await installRedirect(client, options);
    assert.equal(await answerOf(client, server, 8080), 'outbound', 'all packets of the client');
    assert.equal(await answerOf(client, server, 15008), 'outbound');
    assert.equal(await answerOf(client, client, 8080), 'client', 'its own address');
    await removeRedirect(client, options);
    assert.equal(await answerOf(client, server, 8080), 'server');

    await installRedirect(server, options);
    assert.equal(await answerOf(client, server, 8080), 'plaintext');
    assert.equal(await answerOf(client, server, 15008), 'hbone', 'never redirected');
    assert.equal(await answerOf(server, server, 8081), 'other', 'its own address');
    assert.equal(await answerOf(node, server, 8080), 'plaintext');
    await installProbeSource(node, [server]);
    assert.equal(await answerOf(node, server, 8080), 'server', "the kubelet's probe");
    assert.equal(await answerOf(client, server, 8080), 'plaintext');
    await removeRedirect(server, options);

    await installRedirect(server, { variant, bypassInbound: true, dns: false });
    assert.equal(await answerOf(client, server, 8080), 'server', 'an ingress');
    await removeRedirect(server, { variant, dns: false });
  });

  test(`${variant}: DNS is redirected to 15053 only with the DNS rules`, async () => {
    await using lab = await createLab();
    const node = await lab.node();
    const client = await node.pod({ name: 'client' });
    const server = await node.pod({ name: 'server' });
    await client.serve({ port: 15053, protocol: 'udp', name: 'captured', address: '127.0.0.1' });
    await server.serve({ port: 53, protocol: 'udp', name: 'resolver' });
    await server.serve({ port: 5353, protocol: 'udp', name: 'other' });
    const ask = (port: number) =>
      client
        .exchangeDatagram({ host: server.addresses.v4, port, message: 'q' })
        .then((text) => text.split(' ')[0]);

    await installRedirect(client, { variant });
    assert.equal(await ask(53), 'captured');
    assert.equal(await ask(5353), 'other');
    await removeRedirect(client, { variant });
    await installRedirect(client, { variant, dns: false });
    assert.equal(await ask(53), 'resolver');
  });

  test(`${variant}: policy routing delivers marked replies to local sockets, and is removed with the rules`, async () => {
    await using lab = await createLab();
    const node = await lab.node();
    const pod = await node.pod({ name: 'pod' });
    const rules = async () => {
      const outputs = await Promise.all([
        pod.run('ip', ['rule']),
        pod.run('ip', ['-6', 'rule']),
        pod.run('ip', ['-4', 'route', 'show', 'table', 'all']),
        pod.run('ip', ['-6', 'route', 'show', 'table', 'all']),
      ]);
      return outputs.map((output) => output.stdout).join('');
    };
    const before = await rules();
    await installRedirect(pod, { variant });
    const captured = await rules();
    assert.equal(captured.match(/^32764:.*fwmark 0x111\/0xfff lookup 100/gm)?.length, 2);
    assert.equal(captured.match(/^local (default|0\.0\.0\.0\/0|::\/0) dev lo table 100/gm)?.length, 2);
    await removeRedirect(pod, { variant });
    assert.equal(await rules(), before);
  });
}
