import { createServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import { openListener, openNetworkNamespace } from '@kmesh/linux';
import type { Host } from '../pods/host.ts';
import { FrameConnection, type FrameOptions, type FrameStream } from './frames.ts';
import { openPeerTls, type PeerIdentity } from './hbone-client.ts';

interface RudeWaypointOptions extends Omit<FrameOptions, 'role'> {
  readonly identity: PeerIdentity;
  readonly port?: number;
  /** Called for each request; decides what happens on the stream and on its connection. */
  readonly onStream: (stream: FrameStream) => void;
  /** Called for each accepted socket; TLS begins when it resolves. */
  readonly beforeTls?: () => Promise<void>;
}

/** A waypoint that ends streams, HTTP/2 sessions and TCP connections in every way and order that real ones do. */
export class RudeWaypoint implements Disposable {
  readonly connections: FrameConnection[] = [];
  readonly #close: () => void;

  constructor(close: () => void) {
    this.#close = close;
  }

  close(): void {
    this.#close();
    for (const connection of this.connections) connection.raw.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Serves a {@link RudeWaypoint} on a lab host, on port 15008 unless given another. */
export async function serveRudeWaypoint(host: Host, options: RudeWaypointOptions): Promise<RudeWaypoint> {
  const { identity, port = 15008 } = options;
  const secureContext = createSecureContext({
    cert: identity.certificateChainPem,
    key: identity.privateKeyPem,
    ca: [...identity.rootsPem],
    minVersion: 'TLSv1.3',
  });
  const server = createServer({ pauseOnConnect: true }, async (raw: Socket) => {
    raw.on('error', () => undefined);
    await options.beforeTls?.();
    const tls = new TLSSocket(raw, {
      isServer: true,
      secureContext,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
    });
    tls.on('error', () => undefined);
    tls.once('secure', () => {
      const connection = new FrameConnection(tls, raw, { ...options, role: 'server' });
      connection.onStream = options.onStream;
      made.connections.push(connection);
    });
  });
  const made = new RudeWaypoint(() => server.close());
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = openListener({ namespace, address: '::', port, reuseAddress: true });
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
  return made;
}

/** Opens HTTP/2 at frame level over a connected socket, as the client. Rejects when the handshake fails. */
export async function openRudeClient(
  socket: Socket,
  identity: PeerIdentity,
  options: Omit<FrameOptions, 'role'> = {},
): Promise<FrameConnection> {
  return new FrameConnection(await openPeerTls(socket, { identity }), socket, { ...options, role: 'client' });
}
