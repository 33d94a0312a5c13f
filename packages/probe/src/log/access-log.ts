import type { ConnectionEnd, ConnectionStart, EarlyDeny } from '../connection.ts';
import { destinationPeer, type PeerLabels, sourcePeer } from '../labels/peer.ts';
import { isNamedAlike, RecentByPeers } from '../labels/recent-peers.ts';
import {
  formatFields,
  formatLine,
  type LogField,
  type LogFormat,
  lineEnd,
  lineStart,
  logTime,
} from './line-format.ts';
import type { LogFilter } from './log-filter.ts';
import type { LogOwner, LogShares } from './log-shares.ts';
import type { LogWriter } from './log-writer.ts';

interface AccessLogOptions {
  readonly filter: LogFilter;
  readonly writer: LogWriter;
  readonly format: LogFormat;
  /** Limits on lines per pod; absent: unlimited. */
  readonly shares?: LogShares;
}

interface FinalCounts {
  readonly bytesFromClient: number;
  readonly bytesFromServer: number;
  readonly durationMilliseconds: number;
}

const scope = 'access';

/**
 * The access log of ambient contract 16: its messages, levels, fields and order, followed by `path`, `route`,
 * `backend`. `bytes_sent` counts bytes sent by the logging side: the client's bytes outbound, the server's inbound.
 *
 * Its lines bypass pino, unlike the daemon's log: pino takes two to four times the CPU time per line,
 * on the control thread.
 */
export class AccessLog {
  readonly #options: AccessLogOptions;
  /** Cached text between the client's address and the counts, which is the same for many connections. */
  readonly #peers = new RecentByPeers<string>(isLoggedAlike);
  readonly #peersOf = (start: ConnectionStart): string =>
    formatFields(this.#options.format, peerFields(start));

  constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  opened(start: ConnectionStart): void {
    if (!this.#options.filter.enabled(scope, 'debug') || !this.#admits(podOf(start))) return;
    this.#write('debug', 'connection opened', [
      { name: 'src.addr', value: start.sourceAddress, bare: true },
      ...peerFields(start),
      ...ownFields(start),
    ]);
  }

  /** Logs an end. An end with an `error` is logged as a failure, regardless of its flag: a drain has flag `-`. */
  closed(start: ConnectionStart, end: ConnectionEnd, counts: FinalCounts): void {
    const level = end.error === undefined ? 'info' : 'error';
    if (!this.#options.filter.enabled(scope, level) || !this.#admits(podOf(start))) return;
    const { format } = this.#options;
    const { sourceAddress } = start;
    const outbound = start.reporter === 'source';
    const { bytesFromClient, bytesFromServer } = counts;
    const sent = outbound ? bytesFromClient : bytesFromServer;
    const received = outbound ? bytesFromServer : bytesFromClient;
    const duration = Math.floor(counts.durationMilliseconds);
    const begin = completeStarts[format][level];
    const peers = this.#peers.of(start, this.#peersOf);
    const measured =
      format === 'json'
        ? `,"bytes_sent":${sent},"bytes_recv":${received},"duration":"${duration}ms"`
        : ` bytes_sent=${sent} bytes_recv=${received} duration="${duration}ms"`;
    const from = format === 'json' ? `,"src.addr":"${sourceAddress}"` : `\tsrc.addr=${sourceAddress}`;
    const own =
      end.error === undefined && start.routed === undefined
        ? pathTexts[format][start.path]
        : formatFields(format, [
            ...(end.error === undefined ? [] : [{ name: 'error', value: end.error }]),
            ...ownFields(start),
          ]);
    this.#options.writer.write(
      `${begin.before}${logTime()}${begin.after}${from}${peers}${measured}${own}${lineEnd(format)}`,
    );
  }

  earlyDeny(deny: EarlyDeny): void {
    if (!this.#options.filter.enabled(scope, 'warn') || !this.#admits(deny.pod)) return;
    this.#write('warn', 'connection failed', [
      { name: 'src.addr', value: deny.sourceAddress, bare: true },
      { name: 'dst.addr', value: deny.destinationAddress, bare: true },
      { name: 'direction', value: deny.reporter === 'source' ? 'outbound' : 'inbound' },
      { name: 'error', value: deny.error },
    ]);
  }

  #admits(owner: LogOwner | undefined): boolean {
    return this.#options.shares?.admits(owner) ?? true;
  }

  #write(level: string, message: string, fields: readonly LogField[]): void {
    this.#options.writer.write(formatLine(this.#options.format, level, scope, message, fields));
  }
}

/** Returns whether log lines describe both peers equally, except the client's port. */
function isLoggedAlike(known: ConnectionStart, start: ConnectionStart): boolean {
  return (
    known.destinationAddress === start.destinationAddress &&
    known.hboneAddress === start.hboneAddress &&
    known.attested === start.attested &&
    isNamedAlike(known, start)
  );
}

/** Returns the pod of this node. */
function podOf({ reporter, source, destination }: ConnectionStart): LogOwner | undefined {
  return reporter === 'source' ? source : destination;
}

const completeStarts = { plain: startsOf('plain'), json: startsOf('json') } as const;

function startsOf(format: LogFormat) {
  return {
    info: lineStart(format, 'info', scope, 'connection complete'),
    error: lineStart(format, 'error', scope, 'connection complete'),
  } as const;
}

/** Results of {@link ownFields} without a route. */
const pathTexts = {
  plain: { kernel: ' path=kernel', tunnel: ' path=tunnel' },
  json: { kernel: ',"path":"kernel"', tunnel: ',"path":"tunnel"' },
} as const;

/** Returns the fields that ztunnel's log lacks: the path, and the route with its chosen backend. */
function ownFields({ path, routed }: ConnectionStart): LogField[] {
  const fields: LogField[] = [{ name: 'path', value: path, bare: true }];
  if (routed !== undefined) {
    fields.push({ name: 'route', value: routed.route }, { name: 'backend', value: routed.backend });
  }
  return fields;
}

/** Returns rows 2–13 of the table, which follow the client's address; unknown values are omitted. */
function peerFields(start: ConnectionStart): LogField[] {
  const fields: LogField[] = [];
  const source = sourcePeer(start);
  const destination = destinationPeer(start);
  const proven = start.securityPolicy === 'mutual_tls' || start.attested === true;
  function add(name: string, value: string | undefined, bare = false): void {
    if (value !== undefined && value !== '') fields.push({ name, value, bare });
  }
  function addPeer(side: 'src' | 'dst', podName: string | undefined, peer: PeerLabels): void {
    add(`${side}.workload`, podName || peer.canonicalService);
    add(`${side}.namespace`, peer.namespace);
    if (proven) add(`${side}.identity`, peer.principal);
    add(`${side}.cluster`, peer.cluster);
  }
  addPeer('src', start.source?.name, source);
  add('dst.addr', start.destinationAddress, true);
  add('dst.hbone_addr', start.hboneAddress, true);
  add('dst.service', start.destinationService?.hostname);
  addPeer('dst', start.derivedDestination ? undefined : start.destination?.name, destination);
  add('direction', start.reporter === 'source' ? 'outbound' : 'inbound');
  return fields;
}
