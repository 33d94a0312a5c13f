import { istio } from '../gen/zds.js';
import { codec } from './codec.ts';

/** The node-local protocol with the CNI agent (docs/contract.md 10). */
export const ZdsHello = codec(istio.workload.zds.ZdsHello);
export type ZdsHello = istio.workload.zds.ZdsHello.$Properties;
export const WorkloadRequest = codec(istio.workload.zds.WorkloadRequest);
export type WorkloadRequest = istio.workload.zds.WorkloadRequest.$Properties;
export const WorkloadResponse = codec(istio.workload.zds.WorkloadResponse);
export type WorkloadResponse = istio.workload.zds.WorkloadResponse.$Properties;
export type WorkloadInfo = istio.workload.zds.WorkloadInfo.$Properties;

export const Version = istio.workload.zds.Version;

/** Longest packet in either direction, in bytes. */
export const maximumPacketBytes = 1024;
