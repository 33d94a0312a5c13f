import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { openListener, openNetworkNamespace } from '@kmesh/linux';
import type { Host } from '../pods/host.ts';
import type { PeerIdentity } from './hbone-client.ts';

/** A request that a peer server received. */
export interface PeerRequest {
  readonly headers: IncomingHttpHeaders;
  /** In order of arrival, alternating names and values. */
  readonly rawHeaders: readonly string[];
  readonly authority: string;
  readonly stream: ServerHttp2Stream;
  /** URI names of the client's certificate, as the certificate spells them. */
  readonly clientNames: string;
  readonly session: ServerHttp2Session;
  /** Address of the TCP peer. */
  readonly remoteAddress: string;
}

interface HboneServerOptions {
  readonly identity: PeerIdentity;
  readonly port?: number;
  readonly maxConcurrentStreams?: number;
  /** Key exchange groups, as TLS names them. */
  readonly groups?: string;
  /** Answers a CONNECT: 200 and the bytes by default, echoing them. */
  readonly onRequest?: (request: PeerRequest) => void;
}

/** The server half of a peer proxy, on Node's HTTP/2 and TLS. Written only from ambient contract 6. */
export class HboneServer {
  readonly server: Http2SecureServer;
  readonly requests: PeerRequest[] = [];
  /** TLS connections that finished their handshake. */
  readonly connections: TLSSocket[] = [];
  readonly sessions = new Set<ServerHttp2Session>();
  /** Maximum number of concurrent streams on one connection so far. */
  maximumStreams = 0;
  readonly #sockets = new Set<Socket>();

  constructor(options: HboneServerOptions) {
    const { identity } = options;
    this.server = createSecureServer({
      cert: identity.certificateChainPem,
      key: identity.privateKeyPem,
      ca: [...identity.rootsPem],
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      ...(options.groups === undefined ? {} : { ecdhCurve: options.groups }),
      settings: {
        initialWindowSize: 4 << 20,
        maxFrameSize: 1 << 20,
        maxConcurrentStreams: options.maxConcurrentStreams ?? 100,
      },
    });
    this.server.on('secureConnection', (socket) => this.connections.push(socket));
    this.server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.server.on('sessionError', () => undefined);
    this.server.on('session', (session) => {
      this.sessions.add(session);
      session.setLocalWindowSize(16 << 20);
      session.on('error', () => undefined);
      session.on('close', () => this.sessions.delete(session));
    });
    const open = new Map<ServerHttp2Session, number>();
    this.server.on('stream', (opened, headers, _flags, rawHeaders) => {
      const stream = opened as ServerHttp2Stream;
      const session = stream.session as ServerHttp2Session;
      const count = (open.get(session) ?? 0) + 1;
      open.set(session, count);
      this.maximumStreams = Math.max(this.maximumStreams, count);
      stream.on('close', () => open.set(session, (open.get(session) ?? 1) - 1));
      stream.on('error', () => undefined);
      const socket = session.socket as TLSSocket;
      const request: PeerRequest = {
        headers,
        rawHeaders: rawHeaders as unknown as string[],
        authority: headers[':authority'] ?? '',
        stream,
        clientNames: socket.getPeerCertificate().subjectaltname ?? '',
        session,
        remoteAddress: (socket.remoteAddress ?? '').replace(/^::ffff:/, ''),
      };
      this.requests.push(request);
      if (options.onRequest !== undefined) {
        options.onRequest(request);
        return;
      }
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
  }

  /** TCP connections that are open. */
  get open(): number {
    return this.#sockets.size;
  }

  close(): void {
    this.server.close();
    for (const session of this.sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Serves HBONE on a lab host, on port 15008 by default. */
export async function serveHbone(host: Host, options: HboneServerOptions): Promise<HboneServer> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const made = new HboneServer(options);
  const fd = openListener({ namespace, address: '::', port: options.port ?? 15008, reuseAddress: true });
  await new Promise<void>((resolve) => made.server.listen({ fd }, resolve));
  return made;
}
