import { connect } from 'node:net';
import type { FakeIstiod } from '../../istiod/istiod-interface.ts';
import type { Host } from '../../pods/host.ts';

/**
 * Makes a port of this process reachable as `127.0.0.1:port` on a host of the lab, and returns the way to stop that:
 * new connections are refused then, and those that run are cut.
 */
export async function relay(host: Host, port: number, target: string): Promise<() => Promise<void>> {
  const { hostname, port: targetPort } = new URL(target);
  const sockets = new Set<{ destroy(): unknown }>();
  const server = await host.listen({ host: '127.0.0.1', port }, (inside) => {
    const outside = connect(Number(targetPort), hostname.replace(/^\[|\]$/g, ''));
    for (const [socket, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  return async () => {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  };
}

/** What lets the daemon into a fake istiod that is relayed to port 15012 of its host. */
export function istiodEnvironment(istiod: FakeIstiod): Record<string, string> {
  return {
    XDS_ADDRESS: 'https://127.0.0.1:15012',
    CA_ADDRESS: 'https://127.0.0.1:15012',
    XDS_ROOT_CA: istiod.rootPem,
    CA_ROOT_CA: istiod.rootPem,
    AUTH_TOKEN: istiod.token,
    POD_NAME: 'ztunnel-1',
    POD_NAMESPACE: 'istio-system',
    SERVICE_ACCOUNT: 'ztunnel',
    NODE_NAME: 'node-0',
  };
}
