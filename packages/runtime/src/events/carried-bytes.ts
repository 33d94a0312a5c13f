import { type TcpSockets, tcpState } from '@kmesh/linux';

/** In these the peer's FIN has arrived, and may be one of the bytes received. */
const finReceived: ReadonlySet<number> = new Set([tcpState.closeWait, tcpState.lastAck, tcpState.closing]);

/** In these the own FIN was sent, and may be one of the bytes acknowledged. */
const finSent: ReadonlySet<number> = new Set([tcpState.finWait1, tcpState.lastAck, tcpState.closing]);

/**
 * Bytes that a socket has carried. Its counters have the sequence numbers of SYN and FIN, and its state was read a moment before
 * them: a FIN in between is known from the state that the programs kept, which the kernel copies after the counters. One that
 * came later still, or is not acknowledged yet, makes a byte that the next list shows.
 *
 * @param keptState `tcp_state` of the flow: 0 while no FIN was sent or has arrived
 */
export function bytesCarried(
  sockets: Pick<TcpSockets, 'bytesAcknowledged' | 'bytesReceived'>,
  keptState: number,
  inbound: boolean,
): { readonly sent: number; readonly received: number } {
  const synAndFin = (inbound ? 0 : 1) + (finSent.has(keptState) ? 1 : 0);
  return {
    sent: Math.max(0, sockets.bytesAcknowledged - synAndFin),
    received: Math.max(0, sockets.bytesReceived - (finReceived.has(keptState) ? 1 : 0)),
  };
}
