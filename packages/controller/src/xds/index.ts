export { createXdsClient, type XdsClient } from './client.ts';
export type { ControlPlane } from './control-plane.ts';
