import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connectSocket, openNetworkNamespace } from '@kmesh/linux';
import type { Host } from '../pods/host.ts';
import { openHbone, type PeerIdentity } from './hbone-client.ts';
import { type HboneServer, type PeerRequest, serveHbone } from './hbone-server.ts';

interface WaypointOptions {
  readonly identity: PeerIdentity;
  /**
   * Where a request goes: `ip`, `port`, and whether by HBONE (with the waypoint's own identity) or plain TCP; a number
   * is the status to answer with, and `lost` ends the connection unanswered.
   */
  readonly route: (
    request: PeerRequest,
  ) => { readonly ip: string; readonly port: number; readonly hbone?: boolean } | number | 'lost';
  readonly port?: number;
}

/**
 * A waypoint (or an east-west gateway, which forwards to another proxy's 15008 without decrypting): accepts HBONE, and
 * forwards the bytes by its route, or answers with a status.
 */
export function serveWaypoint(host: Host, options: WaypointOptions): Promise<HboneServer> {
  return serveHbone(host, {
    identity: options.identity,
    ...(options.port === undefined ? {} : { port: options.port }),
    onRequest: (request) => {
      const route = options.route(request);
      if (route === 'lost') {
        request.session.destroy();
        return;
      }
      if (typeof route === 'number') {
        request.stream.respond({ ':status': route }, { endStream: true });
        return;
      }
      forward(host, options, request, route).catch(() => {
        if (!request.stream.headersSent) request.stream.respond({ ':status': 503 }, { endStream: true });
        else request.stream.close(2);
      });
    },
  });
}

async function forward(
  host: Host,
  options: WaypointOptions,
  request: PeerRequest,
  route: { readonly ip: string; readonly port: number; readonly hbone?: boolean },
): Promise<void> {
  let onward: Duplex;
  if (route.hbone === true) {
    const client = await openHbone(await dial(host, route.ip, 15008), { identity: options.identity });
    const authority = route.ip.includes(':') ? `[${route.ip}]:${route.port}` : `${route.ip}:${route.port}`;
    const answer = await client.request(authority);
    if (answer.status !== 200) {
      request.stream.respond({ ':status': 503 }, { endStream: true });
      return;
    }
    onward = answer.stream;
  } else {
    onward = await dial(host, route.ip, route.port);
  }
  request.stream.respond({ ':status': 200 });
  request.stream.pipe(onward);
  onward.pipe(request.stream);
  onward.on('error', () => request.stream.close(8));
  request.stream.on('close', () => onward.destroy());
}

async function dial(host: Host, address: string, port: number): Promise<Socket> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = await connectSocket({ namespace, address, port, timeout: 5_000 });
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}
