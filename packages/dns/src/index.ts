export { DnsProxy } from './dns-proxy.ts';
export { nameRecordOf } from './names/record.ts';
export { defaultSearchDomains, resolveName } from './names/resolve.ts';
