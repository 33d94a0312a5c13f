export { BpfIterator } from './bpf-iterator.ts';
export { type Link, openPinnedLink, unpin } from './bpf-link.ts';
export { BpfMap, createMap, mapTypes, openPinnedMap } from './bpf-map.ts';
export { BpfObject, enableProgramStatistics, openBpfObject } from './bpf-object.ts';
export {
  attachedProgramIds,
  attachedPrograms,
  BpfProgram,
  openPinnedProgram,
  type ProgramCode,
  programById,
} from './bpf-program.ts';
export { objectEnumLayouts, objectFunctionNames, objectSection, objectStructLayouts } from './btf.ts';
export { type Capability, type CapabilityName, capability, probeCapabilities } from './capabilities.ts';
export { closeDescriptor, duplicateDescriptor, raiseDescriptorLimit } from './descriptors.ts';
export { BpfLoadError, errnoName, SystemCallError } from './errors.ts';
export { EventRing } from './event-ring.ts';
export { kernelBarrier } from './kernel-barrier.ts';
export { findBpffsMount, findCgroupMount, listMounts } from './mounts.ts';
export {
  createNetworkNamespace,
  currentNetworkNamespace,
  NetworkNamespace,
  networkNamespaceFromDescriptor,
  networkNamespaceOfProcess,
  openNetworkNamespace,
} from './network-namespace.ts';
export {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketMessage,
  type SeqpacketOptions,
  SeqpacketServer,
  SeqpacketSocket,
} from './seqpacket.ts';
export { connectSocket, migrateOnClose, openListener, openUdpSocket } from './socket.ts';
export {
  getSocketOption,
  socketCookie,
  socketLocalAddress,
  socketPeerAddress,
  spliceAway,
  tcpInfo,
  unreadBytes,
} from './socket-options.ts';
export { linksAtInterface, removeFilter } from './traffic-control.ts';
export {
  type NativeTunnel,
  type NativeTunnelConfig,
  type NativeTunnelExtra,
  nativeTunnel,
  type TunnelHandle,
} from './tunnel-engine.ts';
export { summarizeVerifierLog } from './verifier-log.ts';
export { DescriptorWatcher, watchOnce } from './watch-descriptor.ts';
