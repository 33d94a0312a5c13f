import { formatSocketAddress } from '../../state/ip.ts';
import { type HeaderValue, headerLines } from './header-value.ts';

/**
 * Value of `forwarded`: the client's address, and the service's host name when the call was service-addressed
 * (contract 6.2).
 */
export function formatForwarded(clientIp: string, clientPort: number, serviceHostname?: string): string {
  const client = `for="${formatSocketAddress(clientIp, clientPort)}"`;
  return serviceHostname === undefined ? client : `${client};host=${serviceHostname}`;
}

/**
 * The `host=` parameter of `forwarded`, quoted or plain (contract 7.7). `undefined` when it is absent or empty, or
 * when the header is not ASCII. Used for telemetry only, never for authorization. Never throws.
 */
export function forwardedHost(value: HeaderValue): string | undefined {
  for (const line of headerLines(value)) {
    if (!isAscii(line)) continue;
    for (const element of line.split(/[;,]/)) {
      const equals = element.indexOf('=');
      if (equals < 0 || element.slice(0, equals).trim().toLowerCase() !== 'host') continue;
      const host = unquote(element.slice(equals + 1).trim());
      if (host !== '') return host;
    }
  }
  return undefined;
}

function unquote(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}
