import type { Service } from '@kmesh/api';
import { type MeshView, routeNamespaces, routeSignature } from '@kmesh/orchestration';

/** A namespace that no service can be in: its view is that of every namespace without services or routes of its own. */
export const GENERIC_NAMESPACE = '\0';

const none: readonly never[] = [];

/** Namespaces for which the routes of a service say something else than for all others. */
export function scopedNamespaces(view: MeshView, service: Service): readonly string[] {
  if (view.routesOf(service.hostname).length === 0) return none;
  const generic = routeSignature(view, service, GENERIC_NAMESPACE);
  return [...routeNamespaces(view, service)].filter(
    (namespace) => routeSignature(view, service, namespace) !== generic,
  );
}
