import { xds } from '@kmesh/api';
import { Slicer } from '@kmesh/orchestration';
import type { RetainedResources } from './retained.ts';

/** What the first request of a type on a stream says. */
interface FirstRequest {
  readonly bytes: Buffer;
  /**
   * Names that are held but did not fit. The control plane does not know of them, so it cannot say that they are gone:
   * those that its first answer does not carry have to be removed.
   */
  readonly unconfirmed: Set<string>;
}

/** istiod takes requests of up to 4 MiB; a longer one would fail at every reconnect. */
const maximumBytes = 3.75 * 1024 * 1024;
const sliceMilliseconds = 6;

/**
 * The first request of a type (ambient contract 3.3): node, wildcard or "nothing yet", and the versions that are still
 * held, names that are being waited for among them with an empty version. Built in slices, since a large mesh has
 * megabytes of versions.
 */
export async function buildFirstRequest(
  typeUrl: string,
  node: xds.Node,
  onDemand: boolean,
  retained: RetainedResources,
  pending: Iterable<string>,
): Promise<FirstRequest> {
  const subscription = onDemand ? { resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] } : {};
  const parts = [xds.DeltaDiscoveryRequest.encode({ node, typeUrl, ...subscription })];
  const unconfirmed = new Set<string>();
  const slicer = new Slicer(sliceMilliseconds);
  let size = parts[0]?.length ?? 0;
  let chunk: [name: string, version: string][] = [];
  const flush = (): void => {
    if (chunk.length === 0) return;
    // Fields of one message may follow each other in pieces: the pieces are one message when put together.
    parts.push(xds.DeltaDiscoveryRequest.encode({ initialResourceVersions: Object.fromEntries(chunk) }));
    chunk = [];
  };
  const add = (name: string, version: string): boolean => {
    const bytes = Buffer.byteLength(name) + version.length + 12;
    if (size + bytes > maximumBytes) return false;
    size += bytes;
    chunk.push([name, version]);
    return true;
  };
  for (const name of pending) add(name, '');
  for (const [name, version] of retained.versions()) {
    if (!add(name, version)) unconfirmed.add(name);
    if (chunk.length < 256) continue;
    flush();
    if (slicer.due) await slicer.pause();
  }
  flush();
  return { bytes: Buffer.concat(parts), unconfirmed };
}
