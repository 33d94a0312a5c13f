import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Workload } from '@kmesh/api';
import { serviceOf } from '../../mesh/records.ts';
import type { PeerIdentity } from '../../peers/hbone-client.ts';
import { serveHbone } from '../../peers/hbone-server.ts';
import { serveWaypoint } from '../../peers/waypoint.ts';
import type { Pod } from '../../pods/pod.ts';
import { uri } from './authority.ts';
import type { TestMesh } from './mesh.ts';

/** Returns the workload as an endpoint of these services. */
export function withService(workload: Workload, ...services: ReturnType<typeof serviceOf>[]): Workload {
  const entries = services.map(
    (service) => [`${service.namespace}/${service.hostname}`, service.ports] as const,
  );
  return { ...workload, services: new Map(entries) };
}

/**
 * A service behind a gateway in another network, reached by double HBONE: gateway and final server are test servers on
 * node 1. Without `subjectAltNames` the service accepts the final server's own identity.
 */
export async function gatewayed(
  mesh: TestMesh,
  name: string,
  by: 'ip' | 'hostname',
  subjectAltNames: readonly string[] = [],
  /** Serves the gateway in place of the usual one. */
  serveGateway?: (
    gateway: Pod,
    identity: PeerIdentity,
    port: number,
    final: Pod,
  ) => Promise<{ close(): void }>,
) {
  const gateway = await mesh.pod({
    node: 1,
    captured: false,
    workload: { protocol: 'HBONE', network: 'far' },
  });
  const port = by === 'ip' ? 15008 : 15443;
  /** Number of requests to leave unanswered, each ending its connection, and to refuse, which goes on. */
  const losses = { gateway: 0, final: 0, refused: 0 };
  /**
   * `passing` is called for each request that the gateway passes on, before it does; `requested` answers each request
   * to the final server.
   */
  const hooks: { passing?: () => void; requested?: (stream: ServerHttp2Stream) => void } = {};
  const final = await mesh.pod({
    node: 1,
    captured: false,
    workload: { network: 'far', uid: `far-${name}` },
  });
  const inner = mesh.own(
    await serveHbone(final.pod, {
      identity: mesh.authority.issue(final.workload),
      onRequest: ({ stream, session }) => {
        if (losses.final-- > 0) {
          session.destroy();
          return;
        }
        if (losses.refused-- > 0) {
          stream.close(constants.NGHTTP2_REFUSED_STREAM);
          return;
        }
        if (hooks.requested !== undefined) {
          hooks.requested(stream);
          return;
        }
        stream.respond({ ':status': 200, baggage: 'k8s.deployment.name=final,service.name=final' });
        stream.on('data', (chunk: Buffer) => stream.write(Buffer.concat([chunk, chunk])));
        stream.on('end', () => stream.end());
      },
    }),
  );
  const identity = mesh.authority.issue(gateway.workload);
  const usual = {
    identity,
    port,
    route: () => {
      if (losses.gateway-- > 0) return 'lost';
      hooks.passing?.();
      return { ip: final.pod.addresses.v4, port: 15008 };
    },
  } as const;
  mesh.own(
    (await serveGateway?.(gateway.pod, identity, port, final.pod)) ??
      (await serveWaypoint(gateway.pod, usual)),
  );
  const service = serviceOf({
    name,
    vips: mesh.lab.serviceAddress(),
    ports: { 8080: 8080 },
    subjectAltNames: subjectAltNames.length > 0 ? subjectAltNames : [uri(final.workload)],
  });
  const eastWest = serviceOf({ name: `ew-${name}`, vips: [], ports: { 15008: 15443 } });
  const destination =
    by === 'ip'
      ? ({ kind: 'address', network: 'far', ip: gateway.pod.addresses.v4 } as const)
      : ({ kind: 'hostname', namespace: 'default', hostname: eastWest.hostname } as const);
  mesh.apply(
    service,
    eastWest,
    by === 'hostname' ? withService(gateway.workload, eastWest) : gateway.workload,
    {
      ...withService(gateway.workload, service),
      uid: `far/SplitHorizon/${name}`,
      name,
      addresses: [],
      networkGateway: { destination, hboneMtlsPort: 15008 },
    },
  );
  return { service, gateway, final, inner, port, losses, hooks };
}
