import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { sendUnaryData } from '@grpc/grpc-js';
import { type caProto, KmeshError, type MeshUpdate, xds } from '@kmesh/api';
import { type Authority, createAuthority } from '../pki/authority.ts';
import {
  acceptCertificateCall,
  CertificateRefusal,
  type CertificateSettings,
  defaultCertificateSettings,
  type RecordedCertificateRequest,
} from './certificate-service.ts';
import { DeltaStream, type RecordedRequest } from './delta-stream.ts';
import { createFaults, type IstiodFaults, type OpenStream } from './faults.ts';
import {
  type AdsCall,
  type CertificateRpc,
  header,
  headers,
  type RunningGrpcServer,
  startGrpcServer,
} from './grpc-server.ts';
import type { ConnectedStream, FakeIstiod, FakeIstiodOptions } from './istiod-interface.ts';
import type { CallerIdentity } from './node-check.ts';
import { ResourceStore, type StoreChange, type StoredResource } from './resource-store.ts';
import { TransportFront } from './transport-front.ts';

const istiodNames = [
  'istiod.istio-system.svc',
  'istiod-remote.istio-system.svc',
  'istio-pilot.istio-system.svc',
  'localhost',
];

/**
 * Starts a control plane for tests, benchmarks and the demo: delta ADS and the certificate service over TLS, delta
 * ADS over plaintext. It is strict: {@link FakeIstiod.close} fails when a client broke the protocol.
 */
export async function startFakeIstiod(options: FakeIstiodOptions = {}): Promise<FakeIstiod> {
  const istiod = new RunningFakeIstiod(options);
  await istiod.start();
  return istiod;
}

class RunningFakeIstiod implements FakeIstiod {
  readonly authority: Authority;
  readonly certificates: CertificateSettings;
  readonly faults: IstiodFaults;
  readonly requests: RecordedRequest[] = [];
  readonly certificateRequests: RecordedCertificateRequest[] = [];
  readonly violations: string[] = [];
  certificateCallsAtOnce = 0;
  token: string;
  rootPem: string;
  readonly #options: FakeIstiodOptions;
  readonly #host: string;
  readonly #caller: CallerIdentity;
  readonly #intermediate: Authority;
  readonly #store = new ResourceStore();
  readonly #streams = new Set<OpenStream>();
  #secure: RunningGrpcServer | undefined;
  #plaintext: RunningGrpcServer | undefined;
  #secureFront: TransportFront | undefined;
  #plaintextFront: TransportFront | undefined;
  #serverAuthority: Authority;
  #streamCount = 0;
  #certificateCalls = 0;
  #rejectTokens = false;
  readonly #refusedTypes = new Set<string>();
  readonly #callers = new Map<string, CallerIdentity>();
  #stalled = false;

  constructor(options: FakeIstiodOptions) {
    this.#options = options;
    this.#host = options.host ?? '127.0.0.1';
    this.#caller = options.caller ?? { namespace: 'istio-system', serviceAccount: 'ztunnel' };
    this.token = options.token ?? `lab-token-${randomBytes(12).toString('hex')}`;
    this.authority = options.authority ?? createAuthority({ commonName: 'Kmesh lab root' });
    this.#intermediate = this.authority.intermediate();
    this.#serverAuthority = this.authority;
    this.rootPem = this.authority.rootPem;
    this.certificates = { ...defaultCertificateSettings, ...options.certificates };
    this.faults = createFaults({
      fronts: () => [this.#secureFront, this.#plaintextFront].filter((front) => front !== undefined),
      servers: () => [this.#secure, this.#plaintext].filter((server) => server !== undefined),
      streams: () => [...this.#streams],
      stall: (on) => {
        this.#stalled = on;
      },
      rejectTokens: (on) => {
        this.#rejectTokens = on;
      },
      refuseType: (typeUrl, on) => {
        if (on) this.#refusedTypes.add(typeUrl);
        else this.#refusedTypes.delete(typeUrl);
      },
    });
    this.#store.apply(options.mesh ?? []);
  }

  get xdsAddress(): string {
    return `https://${this.#addressHost()}:${this.#secureFront?.port ?? 0}`;
  }

  get caAddress(): string {
    return this.xdsAddress;
  }

  get plaintextXdsAddress(): string {
    return `http://${this.#addressHost()}:${this.#plaintextFront?.port ?? 0}`;
  }

  get acceptedConnections(): number {
    return this.#secureFront?.accepted ?? 0;
  }

  get connections(): readonly ConnectedStream[] {
    return [...this.#streams].map(({ stream, headers: metadata }) => ({
      id: stream.id,
      nodeId: stream.node?.id ?? undefined,
      typeUrls: stream.typeUrls,
      headers: metadata,
      outstanding: stream.outstanding,
    }));
  }

  async start(): Promise<void> {
    this.#secure = await this.#startSecure();
    this.#plaintext = await startGrpcServer({
      tls: undefined,
      maximumRequestBytes: this.#maximumRequestBytes(),
      onStream: (call) => this.#accept(call, false),
      onCertificate: undefined,
    });
    const host = this.#host;
    this.#secureFront = new TransportFront({
      host,
      port: this.#options.port ?? 0,
      target: this.#secure.port,
    });
    this.#plaintextFront = new TransportFront({
      host,
      port: this.#options.plaintextPort ?? 0,
      target: this.#plaintext.port,
    });
    await this.#secureFront.open();
    await this.#plaintextFront.open();
  }

  update(changes: readonly MeshUpdate[]): void {
    this.#push(this.#store.apply(changes));
  }

  putResource(typeUrl: string, resource: StoredResource): void {
    if (this.#store.put(typeUrl, resource)) this.#push(new Map([[typeUrl, new Set([resource.name])]]));
  }

  removeResource(typeUrl: string, name: string): void {
    if (this.#store.remove(typeUrl, name)) this.#push(new Map([[typeUrl, new Set([name])]]));
  }

  setToken(token: string): void {
    this.token = token;
  }

  tokenFor(caller: CallerIdentity): string {
    const token = `lab-token-${randomBytes(12).toString('hex')}`;
    this.#callers.set(token, caller);
    return token;
  }

  async rotateServerRoot(): Promise<string> {
    this.#serverAuthority = createAuthority({ commonName: 'Kmesh lab control-plane root' });
    this.rootPem = this.#serverAuthority.rootPem;
    const old = this.#secure;
    this.#secure = await this.#startSecure();
    this.#secureFront?.retarget(this.#secure.port);
    old?.close();
    return this.rootPem;
  }

  async waitFor(what: string, condition: () => boolean, milliseconds = 20_000): Promise<void> {
    const deadline = performance.now() + milliseconds;
    while (!condition()) {
      if (performance.now() > deadline) {
        throw new KmeshError(
          'KMESH_LAB_TIMEOUT',
          `after ${milliseconds} ms the fake istiod still waits for: ${what}`,
        );
      }
      await sleep(5);
    }
  }

  async waitForSettled(milliseconds = 20_000, clients = 1): Promise<void> {
    const watches = ({ stream }: OpenStream): boolean =>
      [xds.addressTypeUrl, xds.authorizationTypeUrl].every((type) => stream.typeUrls.includes(type));
    await this.waitFor(
      `at least ${clients} clients, each with every response answered`,
      () => {
        const watching = [...this.#streams].filter(watches);
        return watching.length >= clients && watching.every(({ stream }) => stream.outstanding === 0);
      },
      milliseconds,
    );
  }

  assertNoViolations(): void {
    if (this.violations.length === 0) return;
    throw new KmeshError(
      'KMESH_LAB_PROTOCOL',
      `the client broke the protocol:\n  ${this.violations.join('\n  ')}`,
    );
  }

  async close(): Promise<void> {
    await this.#secureFront?.close();
    await this.#plaintextFront?.close();
    this.#secure?.close();
    this.#plaintext?.close();
    this.assertNoViolations();
  }

  #addressHost(): string {
    return this.#host === '127.0.0.1' ? 'localhost' : this.#host;
  }

  #maximumRequestBytes(): number {
    return this.#options.maximumRequestBytes ?? 4 * 1024 * 1024;
  }

  #startSecure(): Promise<RunningGrpcServer> {
    const { certificatePem, privateKeyPem } = this.#serverAuthority.issue({
      dnsNames: this.#options.serverNames ?? istiodNames,
      ips: this.#options.serverIps ?? [this.#host],
    });
    return startGrpcServer({
      tls: { certificatePem, privateKeyPem },
      maximumRequestBytes: this.#maximumRequestBytes(),
      onStream: (call) => this.#accept(call, true),
      onCertificate: (call, reply) => this.#certificate(call, reply),
    });
  }

  /** Owner of the token; `undefined` for an unknown token. */
  #callerOf(authorization: string | undefined): CallerIdentity | undefined {
    if (this.#rejectTokens || authorization === undefined) return undefined;
    if (authorization === `Bearer ${this.token}`) return this.#caller;
    return this.#callers.get(authorization.replace(/^Bearer /, ''));
  }

  #accept(call: AdsCall, secure: boolean): void {
    const refuse = (code: number, details: string): void => {
      call.emit('error', { code, details });
    };
    const caller = secure ? this.#callerOf(header(call.metadata, 'authorization')) : undefined;
    if (secure && caller === undefined) {
      refuse(16, 'authentication failure');
      return;
    }
    this.#streamCount += 1;
    const id = this.#streamCount;
    if (header(call.metadata, 'clusterid') === undefined)
      this.violations.push(`stream ${id}: has no clusterid header`);
    const stream = new DeltaStream(id, {
      store: this.#store,
      caller,
      send: (message) => call.write(message),
      refuse,
      refuses: (typeUrl) => this.#refusedTypes.has(typeUrl),
      violation: (text) => this.violations.push(text),
      record: (request) => this.requests.push(request),
    });
    stream.stall(this.#stalled);
    const open: OpenStream = { stream, call, headers: headers(call.metadata) };
    this.#streams.add(open);
    const gone = (): void => {
      this.#streams.delete(open);
    };
    call.on('data', (request: xds.DeltaDiscoveryRequest) => stream.receive(request));
    call.on('end', () => call.end());
    call.on('cancelled', gone);
    call.on('close', gone);
    call.on('error', gone);
  }

  #push(change: StoreChange): void {
    for (const typeUrl of [xds.addressTypeUrl, xds.authorizationTypeUrl]) {
      for (const { stream } of this.#streams) stream.push(typeUrl, change);
    }
    // Every change sends all routes again, as istiod does.
    const typeUrl = xds.virtualServiceTypeUrl;
    const names = new Set([...(change.get(typeUrl) ?? []), ...this.#store.resources(typeUrl).keys()]);
    if (names.size === 0) return;
    for (const { stream } of this.#streams) stream.push(typeUrl, new Map([[typeUrl, names]]));
  }

  #certificate(call: CertificateRpc, reply: sendUnaryData<caProto.IstioCertificateResponse>): void {
    const metadata = headers(call.metadata);
    const caller = this.#callerOf(metadata['authorization']);
    if (caller === undefined) {
      reply({ code: 16, details: 'request authenticate failure' });
      return;
    }
    if (metadata['clusterid'] === undefined) this.violations.push('certificate call has no clusterid header');
    const answer = async (): Promise<void> => {
      try {
        const accepted = acceptCertificateCall(
          {
            request: call.request,
            caller,
            trustDomain: this.#options.trustDomain ?? 'cluster.local',
            headers: metadata,
            peer: call.getPeer(),
          },
          { root: this.authority, intermediate: this.#intermediate },
          this.certificates,
        );
        this.violations.push(...accepted.violations);
        this.certificateRequests.push(accepted.recorded);
        if (this.certificates.delayMilliseconds > 0)
          await sleep(this.certificates.delayMilliseconds, undefined, { ref: false });
        reply(null, accepted.issue());
      } catch (error) {
        const refusal =
          error instanceof CertificateRefusal ? error : new CertificateRefusal(13, String(error));
        reply({ code: refusal.code, details: refusal.message });
      }
    };
    this.#certificateCalls += 1;
    this.certificateCallsAtOnce = Math.max(this.certificateCallsAtOnce, this.#certificateCalls);
    void answer().finally(() => {
      this.#certificateCalls -= 1;
    });
  }
}
