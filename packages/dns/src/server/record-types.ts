import rcodes from 'dns-packet/rcodes.js';
import recordTypes from 'dns-packet/types.js';

const known = new Map<number, string>();

/** Names of the numbers on the wire, as people and metrics know them. */
export const types = {
  /** `A`, `AAAA`, …; `UNKNOWN` for a number without a name, so that a client cannot make up metric series. */
  record(type: number): string {
    let name = known.get(type);
    if (name === undefined) {
      const text = recordTypes.toString(type);
      name = text.startsWith('UNKNOWN') ? 'UNKNOWN' : text;
      known.set(type, name);
    }
    return name;
  },
  /** `NOERROR`, `NXDOMAIN`, … */
  code: (code: number): string => rcodes.toString(code),
} as const;
