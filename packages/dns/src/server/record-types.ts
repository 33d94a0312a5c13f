import rcodes from 'dns-packet/rcodes.js';
import recordTypes from 'dns-packet/types.js';

/** Names of the numbers on the wire, as people and metrics know them. */
export const types = {
  /** `A`, `AAAA`, …; `UNKNOWN` for a number without a name, so that a client cannot make up metric series. */
  record(type: number): string {
    const name = recordTypes.toString(type);
    return name.startsWith('UNKNOWN') ? 'UNKNOWN' : name;
  },
  /** `NOERROR`, `NXDOMAIN`, … */
  code: (code: number): string => rcodes.toString(code),
} as const;
