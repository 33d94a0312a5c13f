export type { CertificateSettings, RecordedCertificateRequest } from './certificate-service.ts';
export type { ControlCommand } from './control-line.ts';
export type { RecordedRequest } from './delta-stream.ts';
export { policyPayload } from './encode-policy.ts';
export { encodeService, servicePayload } from './encode-service.ts';
export { encodeWorkload, workloadPayload } from './encode-workload.ts';
export { startFakeIstiod } from './fake-istiod.ts';
export { type IstiodFaults, rawResource } from './faults.ts';
export {
  type GeneratedMeshOptions,
  generatedService,
  generatedWorkload,
  generateMesh,
} from './generate-mesh.ts';
export type { ConnectedStream, FakeIstiod, FakeIstiodOptions } from './istiod-interface.ts';
export {
  type IstiodProcess,
  type IstiodProcessOptions,
  type IstiodReady,
  startIstiodProcess,
} from './istiod-process.ts';
export type { CallerIdentity } from './node-check.ts';
export type { StoredResource } from './resource-store.ts';
