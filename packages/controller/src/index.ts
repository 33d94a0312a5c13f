export type { ConnectionsView } from './admin/live-view.ts';
export type { Overview, OverviewConnection } from './admin/overview.ts';
export type { TablesView } from './admin/tables-view.ts';
export type { Why } from './admin/why.ts';
export {
  CertificateClient,
  type CertificateClientOptions,
  CertificateManager,
  parseRevocationLists,
  RevocationStore,
  spiffeUri,
} from './certificates/index.ts';
export { parseDuration } from './config/values.ts';
export { runProxy } from './daemon/run-proxy.ts';
export { uninstall } from './daemon/uninstall.ts';
export { watchLocalMesh } from './local/index.ts';
export { versionInfo, versionLine } from './version.ts';
export { type ControlPlane, createXdsClient, type XdsClient } from './xds/index.ts';
