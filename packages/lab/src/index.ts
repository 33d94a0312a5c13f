export { FakeCniAgent, startFakeCniAgent } from './cni/fake-cni-agent.ts';
export { installProbeSource, installRedirect, removeRedirect } from './cni/redirect.ts';
export { type DemoOptions, runDemo } from './demo/run-demo.ts';
export { startFakeIstiod } from './istiod/fake-istiod.ts';
export { generatedService, generatedWorkload, generateMesh } from './istiod/generate-mesh.ts';
export type { FakeIstiod, FakeIstiodOptions } from './istiod/istiod-interface.ts';
export { startIstiodProcess } from './istiod/istiod-process.ts';
export { exportMachinePath } from './mesh/image-programs.ts';
export { relayInto } from './mesh/istiod-relay.ts';
export { startKernelMesh } from './mesh/kernel-mesh.ts';
export { commandOf, kmeshctlExecutable, kmeshExecutable, kmeshSources } from './mesh/kmesh-program.ts';
export { LabMesh, type MeshNode, type MeshPod, startMesh } from './mesh/lab-mesh.ts';
export { NodeProxy, ProxyWatch } from './mesh/node-proxy.ts';
export { type AccessLine, parseAccessLog, parseMetrics, type Sample, sumOf } from './mesh/proxy-output.ts';
export { keyOf, serviceOf, workloadOf } from './mesh/records.ts';
export { type AddressPair, endpointText, parseEndpoint } from './network/addresses.ts';
export { cgroupRoot } from './network/cgroups.ts';
export { type CommandResult, runCommand } from './network/commands.ts';
export { createLab, Lab } from './network/lab.ts';
export { FrameConnection, FrameStream, frameBytes, http2Code, number32 } from './peers/frames.ts';
export {
  HboneClient,
  openHbone,
  openPeerTls,
  type PeerIdentity,
  type PeerTlsOptions,
} from './peers/hbone-client.ts';
export { HboneServer, serveHbone } from './peers/hbone-server.ts';
export { openRudeClient, RudeWaypoint, serveRudeWaypoint } from './peers/rude-peer.ts';
export { serveWaypoint } from './peers/waypoint.ts';
export { createAuthority } from './pki/authority.ts';
export { Host } from './pods/host.ts';
export { Node } from './pods/node.ts';
export { Pod } from './pods/pod.ts';
export type { DialFailure, Dialing, DialReport } from './traffic/dial.ts';
export { connectFrom, listenIn } from './traffic/sockets.ts';
