import { fileURLToPath } from 'node:url';

/** Program that serves pods with a tunnel; to be forked with `serialization: 'advanced'`, see `TunnelProxyStart`. */
export const tunnelProxyProgram = fileURLToPath(new URL('./tunnel-proxy.ts', import.meta.url));
