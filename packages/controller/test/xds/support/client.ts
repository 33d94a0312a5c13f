import type { LogFields, Logger, MeshUpdate } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/istiod/control-plane.ts';
import { createXdsClient, type XdsClient, type XdsClientOptions } from '../../../src/xds/client.ts';

/** Settings that name the control plane, as in messages of the xDS client. */
export const xdsSettings: ControlPlaneSettings = {
  address: 'XDS_ADDRESS',
  rootCa: 'XDS_ROOT_CA',
  alternativeHostname: 'ALT_XDS_HOSTNAME',
  token: 'AUTH_TOKEN',
  headers: 'XDS_HEADER_',
};

export interface LogLine {
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps every line. */
export function recordingLogger(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const keep =
    (level: LogLine['level']) =>
    (message: string, fields: LogFields = {}): void => {
      lines.push({ level, message, fields });
    };
  return { lines, error: keep('error'), warn: keep('warn'), info: keep('info'), debug: keep('debug') };
}

export interface RunningClient extends AsyncDisposable {
  readonly client: XdsClient;
  readonly updates: MeshUpdate[];
  readonly synced: string[];
  readonly lines: LogLine[];
}

export interface ClientSetup {
  readonly address: string;
  readonly plane?: Partial<ControlPlane>;
  readonly options?: Partial<XdsClientOptions>;
  readonly apply?: (updates: readonly MeshUpdate[]) => void | Promise<void>;
}

/** A client of `address` that records updates. Close it with `await using`. */
export function startClient(setup: ClientSetup): RunningClient {
  const updates: MeshUpdate[] = [];
  const synced: string[] = [];
  const logger = recordingLogger();
  const client = createXdsClient(
    {
      controlPlane: {
        address: setup.address,
        rootCa: '/nonexistent/root.pem',
        clusterId: 'Kubernetes',
        headers: {},
        ...setup.plane,
      },
      node: { instanceIp: '', podName: 'p', podNamespace: 'ns', nodeName: 'n', metadata: {} },
      onDemand: false,
      logger,
      random: () => 0.5,
      ...setup.options,
    },
    {
      apply: (batch) => {
        updates.push(...batch);
        return setup.apply?.(batch);
      },
      synced: (typeUrl) => synced.push(typeUrl),
    },
  );
  return { client, updates, synced, lines: logger.lines, [Symbol.asyncDispose]: () => client.close() };
}

/** Waits until `condition` holds; fails after `milliseconds`. */
export async function until(condition: () => boolean, milliseconds?: number): Promise<void> {
  await eventually(String(condition), condition, milliseconds);
}
