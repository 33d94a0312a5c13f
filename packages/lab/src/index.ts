export { FakeCniAgent, startFakeCniAgent } from './cni/fake-cni-agent.ts';
export { installProbeSource, installRedirect, removeRedirect } from './cni/redirect.ts';
export type { RedirectOptions } from './cni/redirect-options.ts';
export { type DemoOptions, runDemo } from './demo/run-demo.ts';
export {
  type FakeIstiod,
  type FakeIstiodOptions,
  generatedService,
  generatedWorkload,
  generateMesh,
  startFakeIstiod,
  startIstiodProcess,
} from './istiod/index.ts';
export { type KernelMesh, type KernelMeshOptions, startKernelMesh } from './mesh/kernel-mesh.ts';
export { LabMesh, type MeshNode, type MeshPod, startMesh } from './mesh/lab-mesh.ts';
export { connectFrom, listenIn } from './mesh/namespace-sockets.ts';
export { NodeProxy, ProxyWatch } from './mesh/node-proxy.ts';
export { type AccessLine, parseAccessLog, parseMetrics, type Sample, sumOf } from './mesh/proxy-output.ts';
export { keyOf, serviceOf, type WorkloadOptions, workloadOf } from './mesh/records.ts';
export type { TunnelProxyStart } from './mesh/tunnel-proxy.ts';
export { tunnelProxyProgram } from './mesh/tunnel-proxy-program.ts';
export { type AddressPair, endpointText, parseEndpoint } from './network/addresses.ts';
export { cgroupRoot } from './network/cgroups.ts';
export { type CommandResult, runCommand } from './network/commands.ts';
export { createLab, Lab } from './network/lab.ts';
export { sweep } from './network/sweep.ts';
export {
  HboneClient,
  openHbone,
  openPeerTls,
  type PeerIdentity,
  type PeerTlsOptions,
} from './peers/hbone-client.ts';
export { HboneServer, serveHbone } from './peers/hbone-server.ts';
export { serveWaypoint } from './peers/waypoint.ts';
export { type Authority, createAuthority, type LeafOptions } from './pki/index.ts';
export { Host } from './pods/host.ts';
export { Node } from './pods/node.ts';
export { Pod, type PodOptions } from './pods/pod.ts';
export type { DialFailure, Dialing, DialReport } from './traffic/dial.ts';
export type { HttpAnswer } from './traffic/http.ts';
export type { Serving } from './traffic/serve.ts';
