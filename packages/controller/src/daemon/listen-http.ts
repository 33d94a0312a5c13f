import { createServer, type RequestListener, type Server } from 'node:http';
import { KmeshError } from '@kmesh/api';
import { limitConnections, oneAtATime } from '@kmesh/probe';

/** A listening HTTP server of the daemon. */
interface HttpListener {
  /** The bound port, also if port 0 was requested. */
  readonly port: number;
  /**
   * Stops accepting and closes idle connections; resolves when the last one has ended, or at the deadline, which closes
   * the rest (ambient contract 2.7).
   */
  close(deadlineMilliseconds: number): Promise<void>;
}

/** Listen addresses. Several hosts (127.0.0.1 and ::1) share one port. */
interface ListenAddress {
  readonly hosts: readonly string[];
  readonly port: number;
  /** Allows several processes to bind the port: an old and a new instance during an update. */
  readonly reusePort?: boolean;
}

const headerTimeoutMilliseconds = 2_000;
const headerBytes = 8 * 1024;

/**
 * Starts an HTTP/1.1 server with the limits of ambient contract 2.9.
 *
 * @throws KMESH_LISTEN_FAILED naming the server, the port and the reason.
 */
export async function listenHttp(
  name: string,
  address: ListenAddress,
  handler: RequestListener,
): Promise<HttpListener> {
  const servers: Server[] = [];
  let port = address.port;
  try {
    for (const host of address.hosts) {
      const server = createServer(
        {
          headersTimeout: headerTimeoutMilliseconds,
          requestTimeout: 0,
          maxHeaderSize: headerBytes,
          noDelay: true,
        },
        oneAtATime(handler),
      );
      limitConnections(server, { total: 256, perClient: 64 });
      servers.push(server);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host, port, exclusive: true, reusePort: address.reusePort ?? false }, () => {
          server.off('error', reject);
          resolve();
        });
      });
      const bound = server.address();
      if (typeof bound === 'object' && bound !== null) port = bound.port;
    }
  } catch (error) {
    for (const server of servers) server.close();
    const reason = error instanceof Error ? error.message : String(error);
    throw new KmeshError(
      'KMESH_LISTEN_FAILED',
      `the ${name} server cannot listen on port ${port}: ${reason}; free the port or set another one`,
      { cause: error },
    );
  }
  return {
    port,
    close: async (deadlineMilliseconds) => {
      const deadline = setTimeout(() => {
        for (const server of servers) server.closeAllConnections();
      }, deadlineMilliseconds);
      await Promise.all(
        servers.map((server) => {
          const closed = new Promise<void>((resolve) => server.close(() => resolve()));
          server.closeIdleConnections();
          return closed;
        }),
      );
      clearTimeout(deadline);
    },
  };
}
