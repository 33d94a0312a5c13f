import type { Service } from '@kmesh/api';
import { GENERIC_NAMESPACE, type MeshView, routeNamespaces, routeSignature } from '@kmesh/orchestration';

const none: readonly never[] = [];

/** Namespaces for which the routes of a service say something else than for all others. */
export function scopedNamespaces(view: MeshView, service: Service): readonly string[] {
  if (view.routesOf(service.hostname).length === 0) return none;
  const generic = routeSignature(view, service, GENERIC_NAMESPACE);
  return [...routeNamespaces(view, service)].filter(
    (namespace) => routeSignature(view, service, namespace) !== generic,
  );
}
