export { loadAddon } from './addon.ts';
export { BpfIterator } from './bpf-iterator.ts';
export { type Link, openPinnedLink, unpin } from './bpf-link.ts';
export { BpfMap, createMap, openPinnedMap } from './bpf-map.ts';
export { BpfObject, enableProgramStatistics, openBpfObject } from './bpf-object.ts';
export {
  attachedProgramIds,
  attachedPrograms,
  BpfProgram,
  mapsOfProgram,
  openPinnedProgram,
  type ProgramCode,
  programById,
} from './bpf-program.ts';
export { type Capability, type CapabilityName, capability, probeCapabilities } from './capabilities.ts';
export { closeDescriptor, duplicateDescriptor, raiseDescriptorLimit } from './descriptors.ts';
export { BpfLoadError, errnoName, SystemCallError } from './errors.ts';
export { EventRing } from './event-ring.ts';
export { listInterfaces } from './interfaces.ts';
export { kernelBarrier } from './kernel-barrier.ts';
export { findBpffsMount, findCgroupMount } from './mounts.ts';
export {
  createNetworkNamespace,
  currentNetworkNamespace,
  NetworkNamespace,
  networkNamespaceFromDescriptor,
  openNetworkNamespace,
} from './network-namespace.ts';
export {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketMessage,
  SeqpacketServer,
  SeqpacketSocket,
} from './seqpacket.ts';
export { connectSocket, migrateOnClose, openListener, openUdpSocket } from './socket.ts';
export { socketPeerAddress } from './socket-options.ts';
export {
  type InterfaceSide,
  linksAtInterface,
  programsAtInterface,
  removeFilter,
} from './traffic-control.ts';
