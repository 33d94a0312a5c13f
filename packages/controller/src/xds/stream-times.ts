/** Timeouts in milliseconds; tests shorten them. */
export interface StreamTimes {
  readonly connectTimeout: number;
  readonly keepaliveTime: number;
  readonly keepaliveTimeout: number;
  /** How long a control plane that refused routes is not asked for them again. */
  readonly routesRefused: number;
  /** How long the first mesh waits for its routes. */
  readonly firstRoutes: number;
}

export const standardTimes: StreamTimes = {
  connectTimeout: 5_000,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
  routesRefused: 3_600_000,
  firstRoutes: 1_000,
};
