export { startFakeIstiod } from './fake-istiod.ts';
export { rawResource } from './faults.ts';
export { generatedService, generatedWorkload, generateMesh } from './generate-mesh.ts';
export type { FakeIstiod, FakeIstiodOptions } from './istiod-interface.ts';
export { startIstiodProcess } from './istiod-process.ts';
