export { connectZds, type ZdsClient, type ZdsClientOptions } from './client.ts';
export { type PodEvents, type PodHandler, type PodInfo, Pods } from './pods.ts';
