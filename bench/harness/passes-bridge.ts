import type { LabMesh, Pod } from '@kmesh/lab';

/** Counts all packets but the first of each connection, in both directions, on the node's bridge. */
const LATER_PACKETS = `table bridge seen {
  chain forward {
    type filter hook forward priority 0;
    tcp flags & (syn | ack) == syn accept
    meta l4proto tcp counter name later
  }
  counter later {
  }
}
`;

/**
 * Waits until connections of the first node take the kernel path and the wire delivers their packets in both
 * directions: the node's bridge then sees only first packets.
 */
export async function passesBridge(
  mesh: LabMesh,
  client: Pod,
  dial: Parameters<Pod['dial']>[0],
): Promise<void> {
  const { node, proxy } = mesh.node();
  await proxy.until(
    'the wire delivers both directions',
    async () => {
      await node.run('nft', ['-f', '-'], { input: LATER_PACKETS });
      const { failed } = await client.dial(dial);
      const { stdout } = await node.run('nft', ['list', 'counter', 'bridge', 'seen', 'later']);
      await node.run('nft', ['delete', 'table', 'bridge', 'seen']);
      return failed === 0 && /packets 0 /.test(stdout);
    },
    30_000,
  );
}
