import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { Socket } from 'node:net';
import { connect as connectTls, type SecureVersion, type TLSSocket } from 'node:tls';

/** A certificate, its key and the roots to trust, in PEM. */
export interface PeerIdentity {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly rootsPem: readonly string[];
}

export interface PeerTlsOptions {
  /** Absent: no client certificate. */
  readonly identity?: PeerIdentity;
  /** Roots to trust when there is no identity; nothing is verified without any. */
  readonly rootsPem?: readonly string[];
  /** `['h2']` by default; empty for no ALPN. */
  readonly alpn?: readonly string[];
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
  /** Key exchange groups, as TLS names them. */
  readonly groups?: string;
}

/** A CONNECT (or other) request and its answer. */
interface PeerResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The tunnelled bytes, when the status is 200. */
  readonly stream: ClientHttp2Stream;
}

/** Opens TLS as an ambient peer does: client certificate, ALPN h2, no SNI (ambient contract 6.1). */
export function openPeerTls(socket: Socket, options: PeerTlsOptions): Promise<TLSSocket> {
  const { identity, alpn = ['h2'], groups } = options;
  const roots = identity?.rootsPem ?? options.rootsPem ?? [];
  // An end of the transport is the end of TLS.
  socket.allowHalfOpen = false;
  const tls = connectTls({
    socket,
    ALPNProtocols: [...alpn],
    minVersion: options.minVersion ?? 'TLSv1.3',
    maxVersion: options.maxVersion ?? 'TLSv1.3',
    rejectUnauthorized: roots.length > 0,
    checkServerIdentity: () => undefined,
    ...(roots.length > 0 ? { ca: [...roots] } : {}),
    ...(identity === undefined ? {} : { cert: identity.certificateChainPem, key: identity.privateKeyPem }),
    ...(groups === undefined ? {} : { ecdhCurve: groups }),
  });
  return new Promise((resolve, reject) => {
    tls.once('secureConnect', () => {
      tls.off('error', reject);
      tls.on('error', () => undefined);
      resolve(tls);
    });
    tls.once('error', reject);
    tls.once('close', () => reject(new Error('closed during the handshake')));
  });
}

/** The client half of a peer proxy, on Node's HTTP/2: opens HBONE connections and sends requests on them. */
export class HboneClient implements Disposable {
  readonly session: ClientHttp2Session;
  readonly tls: TLSSocket;
  /** Number of received GOAWAY frames. */
  goaways = 0;

  constructor(tls: TLSSocket) {
    this.tls = tls;
    this.session = connectHttp2('https://peer', {
      createConnection: () => tls,
      settings: { initialWindowSize: 4 << 20, maxFrameSize: 1 << 20, enablePush: false },
    });
    this.session.on('error', () => undefined);
    this.session.on('goaway', () => {
      this.goaways += 1;
    });
  }

  /** Waits for the server's SETTINGS; a server that refuses the certificate never sends them. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.session.once('remoteSettings', () => resolve());
      const closed = (): void => reject(new Error('the server closed the connection'));
      this.session.once('close', closed);
      this.tls.once('close', closed);
      this.tls.once('error', closed);
      if (this.tls.destroyed || this.session.destroyed) closed();
    });
  }

  /** Sends CONNECT (or `headers[':method']`) and waits for the answer. Rejects when the stream or connection fails. */
  request(authority: string, headers: OutgoingHttpHeaders = {}): Promise<PeerResponse> {
    const stream = this.session.request(
      { ':method': 'CONNECT', ':authority': authority, ...headers },
      { endStream: false },
    );
    return new Promise((resolve, reject) => {
      stream.once('response', (answer) => {
        stream.off('error', reject);
        stream.on('error', () => undefined);
        const { ':status': status = 0, ...rest } = answer;
        resolve({ status, headers: rest as PeerResponse['headers'], stream });
      });
      stream.once('error', reject);
      stream.once('close', () => reject(new Error(`the stream closed with code ${stream.rstCode}`)));
    });
  }

  close(): void {
    this.session.destroy();
    this.tls.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens an HBONE connection over a connected socket. Rejects when the handshake fails. */
export async function openHbone(socket: Socket, options: PeerTlsOptions): Promise<HboneClient> {
  return new HboneClient(await openPeerTls(socket, options));
}
