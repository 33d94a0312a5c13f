/** Timeouts in milliseconds; tests shorten them. */
export interface StreamTimes {
  readonly connectTimeout: number;
  readonly keepaliveTime: number;
  readonly keepaliveTimeout: number;
}

export const standardTimes: StreamTimes = {
  connectTimeout: 5_000,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
};
