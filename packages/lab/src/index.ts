export type { AgentConnection, Exchange } from './cni/agent-connection.ts';
export {
  type AgentFaults,
  type AgentOptions,
  FakeCniAgent,
  startFakeCniAgent,
} from './cni/fake-cni-agent.ts';
export { installProbeSource, installRedirect, removeRedirect } from './cni/redirect.ts';
export type { RedirectOptions } from './cni/redirect-options.ts';
export { type DemoOptions, runDemo } from './demo/run-demo.ts';
export * from './istiod/index.ts';
export { KernelMesh, type KernelMeshOptions, startKernelMesh } from './mesh/kernel-mesh.ts';
export {
  kernelPathByDefault,
  LabMesh,
  type MeshNode,
  type MeshOptions,
  type MeshPod,
  type MeshPodOptions,
  startMesh,
} from './mesh/lab-mesh.ts';
export { connectFrom, listenIn } from './mesh/namespace-sockets.ts';
export { NodeProxy, type ProxyEnd, type ProxyWatch } from './mesh/node-proxy.ts';
export type { Observed, ObservedConnections } from './mesh/observed-connections.ts';
export {
  type AccessLine,
  parseAccessLog,
  parseMetrics,
  type Sample,
  sumOf,
  type TrafficCounts,
  trafficSince,
} from './mesh/proxy-output.ts';
export {
  keyOf,
  type Ports,
  type ServiceOptions,
  serviceOf,
  type WorkloadOptions,
  workloadOf,
} from './mesh/records.ts';
export type { TunnelProxyStart } from './mesh/tunnel-proxy.ts';
export { tunnelProxyProgram } from './mesh/tunnel-proxy-program.ts';
export type { AddressPair } from './network/addresses.ts';
export { endpointText, parseEndpoint } from './network/addresses.ts';
export { cgroupProcesses, cgroupRoot } from './network/cgroups.ts';
export { type CommandOptions, type CommandResult, labProgram, runCommand } from './network/commands.ts';
export { createLab, type Lab, type LabOptions, type NodeOptions } from './network/lab.ts';
export { sweep } from './network/sweep.ts';
export {
  HboneClient,
  openHbone,
  openPeerTls,
  type PeerIdentity,
  type PeerResponse,
  type PeerTlsOptions,
} from './peers/hbone-client.ts';
export { HboneServer, type HboneServerOptions, type PeerRequest, serveHbone } from './peers/hbone-server.ts';
export { serveWaypoint, type WaypointOptions } from './peers/waypoint.ts';
export * from './pki/index.ts';
export type { Host } from './pods/host.ts';
export type { Node } from './pods/node.ts';
export type { Pod, PodIdentity, PodOptions } from './pods/pod.ts';
export type { DialFailure, Dialing, DialOptions, DialReport } from './traffic/dial.ts';
export type { HttpAnswer, HttpRequest } from './traffic/http.ts';
export type { RawListener, RawPacket } from './traffic/raw.ts';
export type { ListenerCount, ServeMode, ServeOptions, Serving } from './traffic/serve.ts';
export type { ConnectOptions, DatagramExchange, ListenOptions } from './traffic/sockets.ts';
