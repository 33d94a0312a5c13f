import type { ConnectionStart, ResponseFlag } from '@kmesh/probe';
import { kmeshCloseReason } from '../tables/gen/layouts.ts';

interface KernelEnding {
  readonly flag: ResponseFlag;
  readonly error?: string | undefined;
}

/** Ending of a live connection that policies no longer allow, worded as on the tunnel path (ambient contract 9). */
export const closedByPolicy: KernelEnding = {
  flag: 'DENY',
  error: 'closed after a policy change: the policies of the destination do not allow it any more',
};

const clean: KernelEnding = { flag: '-' };

/**
 * Returns the flag and the text for the kernel's reason (ambient contract 18). A broken connection is a failure, and so
 * is every connection that was never established. A reset is a normal end, as on the tunnel path (ambient contract
 * 6.10).
 */
export function kernelEnding(reason: number, established: boolean, start: ConnectionStart): KernelEnding {
  const { normal, reset, denied } = kmeshCloseReason;
  if (reason === denied) return denial(established, start);
  if (established && (reason === normal || reason === reset)) return clean;
  return {
    flag: 'CONNECT',
    error: established ? whileOpen(reason) : `${whileConnecting(reason)} (${start.destinationAddress})`,
  };
}

/**
 * For an established connection only the server's side reports a denial, as on the tunnel path, so it is reported once.
 */
function denial(established: boolean, start: ConnectionStart): KernelEnding {
  if (established) return start.reporter === 'destination' ? closedByPolicy : clean;
  return {
    flag: 'DENY',
    error: `the policies of the destination do not allow it any more (${start.destinationAddress})`,
  };
}

function whileOpen(reason: number): string {
  switch (reason) {
    case kmeshCloseReason.timeout:
      return 'connection timed out: the peer no longer acknowledges; check the pod and the network to its node';
    case kmeshCloseReason.unreachable:
      return 'the peer became unreachable: check the route and network policies';
    default:
      return 'connection broken off';
  }
}

function whileConnecting(reason: number): string {
  switch (reason) {
    case kmeshCloseReason.refused:
      return 'connection refused: nothing listens on this port, or a firewall rejects it';
    case kmeshCloseReason.timeout:
      return 'connection timed out: no answer; check that the pod runs and that network policies allow it';
    case kmeshCloseReason.reset:
      return 'connection reset by peer while connecting';
    case kmeshCloseReason.unreachable:
      return 'no route to the destination';
    case kmeshCloseReason.aborted:
      return 'the client gave up before the connection was established';
    default:
      return 'connection failed';
  }
}
