import { istio } from '../gen/authorization.js';
import { codec } from './codec.ts';

/** Wire messages of authorization policies (docs/contract.md 3.8). */
export const Authorization = codec(istio.security.Authorization);
export type Authorization = istio.security.Authorization.$Properties;
export type Rule = istio.security.Rule.$Properties;
export type Clause = istio.security.Clause.$Properties;
export type Match = istio.security.Match.$Properties;
/** A CIDR block; not the `Address` of workloads. */
export type Address = istio.security.Address.$Properties;
export type ServiceAccountMatch = istio.security.ServiceAccountMatch.$Properties;
export type StringMatch = istio.security.StringMatch.$Properties;

export const Scope = istio.security.Scope;
export const Action = istio.security.Action;
