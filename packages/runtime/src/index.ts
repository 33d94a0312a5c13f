export * from './bpf-iterator.ts';
export * from './bpf-link.ts';
export * from './bpf-map.ts';
export * from './bpf-object.ts';
export * from './bpf-program.ts';
export * from './btf.ts';
export * from './capabilities.ts';
export * from './descriptors.ts';
export { BpfLoadError, errnoName, SystemCallError } from './errors.ts';
export * from './event-ring.ts';
export * from './kernel-barrier.ts';
export * from './mounts.ts';
export * from './network-namespace.ts';
export * from './seqpacket.ts';
export * from './socket.ts';
export { type SocketOptionName, socketOptions } from './socket-constants.ts';
export * from './socket-options.ts';
export {
  type FilterPlace,
  type InterfaceSide,
  linksAtInterface,
  removeFilter,
  type TrafficControlTarget,
} from './traffic-control.ts';
export * from './tunnel-engine.ts';
export { summarizeVerifierLog, type VerifierStatistics } from './verifier-log.ts';
export * from './watch-descriptor.ts';
