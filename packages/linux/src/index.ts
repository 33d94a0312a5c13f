export { loadAddon } from './addon.ts';
export {
  attachedProgramIds,
  attachedPrograms,
  type Link,
  openPinnedLink,
  programById,
  unpin,
} from './bpf-link.ts';
export { BpfMap, createMap, kernelBarrier, openPinnedMap } from './bpf-map.ts';
export { BpfObject, enableProgramStatistics, openBpfObject } from './bpf-object.ts';
export {
  BpfProgram,
  mapsOfProgram,
  openPinnedProgram,
  type ProgramCode,
} from './bpf-program.ts';
export {
  type Capability,
  type CapabilityName,
  capability,
  cgroupDirectory,
  cgroupObstacle,
  findBpffsMount,
  findCgroupMount,
  probeCapabilities,
} from './capabilities.ts';
export { DatagramBatch, receiveDatagram, retireUdpSocket, sendRequestDatagram } from './datagrams.ts';
export {
  closeDescriptor,
  DescriptorWatcher,
  duplicateDescriptor,
  OwnedDescriptor,
  raiseDescriptorLimit,
} from './descriptors.ts';
export { BpfLoadError, errnoName, SystemCallError } from './errors.ts';
export { EventRing } from './event-ring.ts';
export { LineWriter } from './line-writer.ts';
export {
  createNetworkNamespace,
  currentNetworkNamespace,
  listInterfaces,
  NetworkNamespace,
  networkNamespaceFromDescriptor,
  openNetworkNamespace,
} from './network-namespace.ts';
export {
  denySystemCalls,
  dropPrivileges,
  releaseFreeMemory,
  releaseStartMemory,
  requestShortSlices,
} from './process.ts';
export { programFile, runCarriedProgram, startThread } from './program-files.ts';
export {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketMessage,
  SeqpacketServer,
  SeqpacketSocket,
} from './seqpacket.ts';
export { connectSocket, migrateOnClose, openListener, openUdpSocket } from './socket.ts';
export { socketPeerAddress } from './socket-options.ts';
export { destroyTcpSockets, listTcpSockets, type TcpSockets, tcpState } from './tcp-sockets.ts';
export {
  filtersAtInterface,
  type InterfaceSide,
  linksAtInterface,
  programsAtInterface,
  removeFilter,
} from './traffic-control.ts';
