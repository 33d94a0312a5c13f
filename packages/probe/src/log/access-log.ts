import type { ConnectionEnd, ConnectionStart, EarlyDeny } from '../connection.ts';
import { destinationPeer, type PeerLabels, sourcePeer } from '../labels/peer.ts';
import { formatLine, type LogField, type LogFormat } from './line-format.ts';
import type { LogFilter } from './log-filter.ts';
import type { LogOwner, LogShares } from './log-shares.ts';
import type { LogWriter } from './log-writer.ts';

interface AccessLogOptions {
  readonly filter: LogFilter;
  readonly writer: LogWriter;
  readonly format: LogFormat;
  /** How many lines each pod may write; absent: as many as it likes. */
  readonly shares?: LogShares;
}

interface FinalCounts {
  readonly bytesFromClient: number;
  readonly bytesFromServer: number;
  readonly durationMilliseconds: number;
}

const scope = 'access';

/**
 * The access log of ambient contract 16: its messages, levels, fields and order, and `path`, `route` and `backend` after them.
 * `bytes_sent` is what the logging side sent: the client's bytes outbound, the server's inbound.
 *
 * Its lines do not go by way of pino, as those of the daemon do: that costs two to four times the processor time of a line,
 * on the thread that decides.
 */
export class AccessLog {
  readonly #options: AccessLogOptions;

  constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  opened(start: ConnectionStart): void {
    if (!this.#options.filter.enabled(scope, 'debug') || !this.#admits(podOf(start))) return;
    this.#write('debug', 'connection opened', [...peerFields(start), ...ownFields(start)]);
  }

  /** An end with an `error` is logged as a failure, whatever its flag: a drain has flag `-`. */
  closed(start: ConnectionStart, end: ConnectionEnd, counts: FinalCounts): void {
    const level = end.error === undefined ? 'info' : 'error';
    if (!this.#options.filter.enabled(scope, level) || !this.#admits(podOf(start))) return;
    const outbound = start.reporter === 'source';
    const fields = peerFields(start);
    fields.push(
      { name: 'bytes_sent', value: outbound ? counts.bytesFromClient : counts.bytesFromServer },
      { name: 'bytes_recv', value: outbound ? counts.bytesFromServer : counts.bytesFromClient },
      { name: 'duration', value: `${Math.floor(counts.durationMilliseconds)}ms` },
    );
    if (end.error !== undefined) fields.push({ name: 'error', value: end.error });
    fields.push(...ownFields(start));
    this.#write(level, 'connection complete', fields);
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

/** The pod of this node. */
function podOf({ reporter, source, destination }: ConnectionStart): LogOwner | undefined {
  return reporter === 'source' ? source : destination;
}

/** What a ztunnel's log does not have: the path, and the route with the backend that it chose. */
function ownFields({ path, routed }: ConnectionStart): LogField[] {
  const fields: LogField[] = [{ name: 'path', value: path, bare: true }];
  if (routed !== undefined) {
    fields.push({ name: 'route', value: routed.route }, { name: 'backend', value: routed.backend });
  }
  return fields;
}

/** Rows 1–13 of the table; what is not known is left out. */
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
  add('src.addr', start.sourceAddress, true);
  addPeer('src', start.source?.name, source);
  add('dst.addr', start.destinationAddress, true);
  add('dst.hbone_addr', start.hboneAddress, true);
  add('dst.service', start.destinationService?.hostname);
  addPeer('dst', start.derivedDestination ? undefined : start.destination?.name, destination);
  add('direction', start.reporter === 'source' ? 'outbound' : 'inbound');
  return fields;
}
