import type { Logger, PodInfo } from '@kmesh/api';

/** Logs that a pod's HBONE connection with `peer` is not read; the engine says so once until little is unread. */
export function reportUnread(logger: Logger, { namespace, name }: PodInfo, peer: string): void {
  logger.warn(
    'applications of a pod do not read: a connection of its proxy waits until they take some bytes',
    {
      pod: `${namespace}/${name}`,
      peer,
    },
  );
}
