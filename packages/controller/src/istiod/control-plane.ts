import { KmeshError } from '@kmesh/api';

/** Address, trust anchors and credentials of the control plane (docs/contract.md 3.1). */
export interface ControlPlane {
  /** URI: `https://host:port`, or `http://host:port` for the plaintext port. */
  readonly address: string;
  /** Path of a PEM file, the word `SYSTEM`, or PEM text. */
  readonly rootCa: string;
  /** A second accepted server name. */
  readonly alternativeHostname?: string | undefined;
  /** Path of a token file, or the token itself; `undefined`: the mounted service-account token, if present. */
  readonly token?: string | undefined;
  readonly clusterId: string;
  /** Further request headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls12Enabled?: boolean;
  readonly postQuantumOnly?: boolean;
}

/** Names of the settings behind a {@link ControlPlane}, for messages. */
export interface ControlPlaneSettings {
  readonly address: string;
  readonly rootCa: string;
  readonly alternativeHostname: string;
  readonly token: string;
  readonly headers: string;
}

/** A setting with an unusable value. Code `KMESH_SETTING_UNUSABLE`. */
export class SettingError extends KmeshError {
  readonly setting: string;

  constructor(setting: string, cause: string) {
    super('KMESH_SETTING_UNUSABLE', `${setting}: ${cause}`);
    this.setting = setting;
  }
}

/** Status codes of gRPC. Importing them from the library would load all of it into each thread that uses one. */
export const grpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a code, or its number where it has none. */
export function statusName(code: number): string {
  return Object.entries(grpcStatus).find(([, value]) => value === code)?.[0] ?? `${code}`;
}
