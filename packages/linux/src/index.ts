export { loadAddon } from './addon.ts';
export { BpfIterator } from './bpf-iterator.ts';
export { type Link, openPinnedLink, unpin } from './bpf-link.ts';
export { BpfMap, createMap, openPinnedMap } from './bpf-map.ts';
export { BpfObject, enableProgramStatistics, openBpfObject } from './bpf-object.ts';
export {
  attachedProgramIds,
  attachedPrograms,
  BpfProgram,
  openPinnedProgram,
  type ProgramCode,
  programById,
} from './bpf-program.ts';
export { type Capability, type CapabilityName, capability, probeCapabilities } from './capabilities.ts';
export { askByDatagram, DatagramBatch, receiveDatagram, retireUdpSocket } from './datagrams.ts';
export { closeDescriptor, duplicateDescriptor, raiseDescriptorLimit } from './descriptors.ts';
export { BpfLoadError, errnoName, SystemCallError } from './errors.ts';
export { EventRing } from './event-ring.ts';
export { kernelBarrier } from './kernel-barrier.ts';
export { releaseStartMemory } from './memory.ts';
export { findBpffsMount, findCgroupMount } from './mounts.ts';
export {
  createNetworkNamespace,
  NetworkNamespace,
  networkNamespaceFromDescriptor,
  openNetworkNamespace,
} from './network-namespace.ts';
export { OwnedDescriptor } from './owned-descriptor.ts';
export { dropPrivileges } from './privileges.ts';
export { programFile, startThread } from './program-files.ts';
export {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketMessage,
  SeqpacketServer,
  SeqpacketSocket,
} from './seqpacket.ts';
export { connectSocket, migrateOnClose, openListener, openUdpSocket } from './socket.ts';
export { socketPeerAddress } from './socket-options.ts';
export { linksAtInterface, removeFilter } from './traffic-control.ts';
export { DescriptorWatcher } from './watch-descriptor.ts';
