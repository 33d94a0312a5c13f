import { istio } from '../gen/workload.js';
import { codec } from './codec.ts';

/** Wire messages of workloads and services (docs/contract.md 3.6, 3.7). */
export const Address = codec(istio.workload.Address);
export type Address = istio.workload.Address.$Properties;
export const Workload = codec(istio.workload.Workload);
export type Workload = istio.workload.Workload.$Properties;
export const Service = codec(istio.workload.Service);
export type Service = istio.workload.Service.$Properties;

export type GatewayAddress = istio.workload.GatewayAddress.$Properties;
export type NetworkAddress = istio.workload.NetworkAddress.$Properties;
export type WeightedWaypoint = istio.workload.WeightedWaypoint.$Properties;
export type PortList = istio.workload.PortList.$Properties;
export type Port = istio.workload.Port.$Properties;
export type Locality = istio.workload.Locality.$Properties;
export type LoadBalancing = istio.workload.LoadBalancing.$Properties;
export type ApplicationTunnel = istio.workload.ApplicationTunnel.$Properties;

export const TunnelProtocol = istio.workload.TunnelProtocol;
export const NetworkMode = istio.workload.NetworkMode;
export const WorkloadStatus = istio.workload.WorkloadStatus;
export const WorkloadType = istio.workload.WorkloadType;
export const IPFamilies = istio.workload.IPFamilies;
export const Visibility = istio.workload.Service.Visibility;
export const Scope = istio.workload.LoadBalancing.Scope;
export const Mode = istio.workload.LoadBalancing.Mode;
export const HealthPolicy = istio.workload.LoadBalancing.HealthPolicy;
export const ApplicationTunnelProtocol = istio.workload.ApplicationTunnel.Protocol;
export const AppProtocol = istio.workload.AppProtocol;
