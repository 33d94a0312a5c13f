import { connect } from 'node:net';
import { listenIn } from '../traffic/sockets.ts';

/**
 * Makes a port of this process reachable as `127.0.0.1:port` in a host's namespace. Returns a function that stops the
 * relay: new connections are refused then, and open ones are cut.
 */
export async function relayInto(
  host: { readonly namespacePath: string },
  port: number,
  target: string,
): Promise<() => Promise<void>> {
  const { hostname, port: targetPort } = new URL(target);
  const sockets = new Set<{ destroy(): unknown }>();
  const server = await listenIn(host, { address: '127.0.0.1', port }, (inside) => {
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
