export { DnsProxy } from './dns-proxy.ts';
export { defaultSearchDomains } from './names/candidates.ts';
export { nameRecordOf } from './names/record.ts';
export { resolveName } from './names/resolve.ts';
