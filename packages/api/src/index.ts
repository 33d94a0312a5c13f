export * as caProto from './codecs/certificate.ts';
export type { Codec } from './codecs/codec.ts';
export * as securityProto from './codecs/security.ts';
export * as workloadProto from './codecs/workload.ts';
export * as xds from './codecs/xds.ts';
export * as zdsProto from './codecs/zds.ts';
export * from './errors.ts';
export type * from './logger.ts';
export * from './model.ts';
