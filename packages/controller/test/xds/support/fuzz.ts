import { type MeshUpdate, securityProto, workloadProto, xds } from '@kmesh/api';
import { Interner } from '../../../src/xds/convert/common.ts';
import { RetainedResources } from '../../../src/xds/resources.ts';
import { type AppliedResponse, applyResponse, decodeResource } from '../../../src/xds/responses.ts';

/** Numbers from 0 to below 1 that are the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Resources that use every field, as input of the mutations. */
function stock(): readonly { readonly typeUrl: string; readonly payload: Buffer }[] {
  const ip = Uint8Array.of(10, 1, 2, 3);
  const gateway = { hostname: { namespace: 'ns', hostname: 'gw' }, hboneMtlsPort: 15008 };
  const ports = [{ servicePort: 80, targetPort: 8080 }];
  const workload = {
    uid: 'Kubernetes//Pod/ns/a',
    name: 'a',
    namespace: 'ns',
    addresses: [ip, new Uint8Array(16)],
    tunnelProtocol: 1,
    waypoint: gateway,
    networkGateway: { address: { network: 'n', address: ip, length: 8 }, hboneMtlsPort: 15008 },
    services: { 'ns/a': { ports }, 'ns/b': { ports } },
    authorizationPolicies: ['ns/p'],
    locality: { region: 'r', zone: 'z', subzone: 's' },
    applicationTunnel: { protocol: 1, port: 15088 },
    extensions: [{ name: 'e', config: { typeUrl: 't', value: ip } }],
    capacity: { value: 3 },
  };
  const service = {
    name: 's',
    namespace: 'ns',
    hostname: 's.ns',
    addresses: [{ network: 'n', address: ip, length: 8 }],
    ports,
    subjectAltNames: ['spiffe://a'],
    waypoint: gateway,
    loadBalancing: { routingPreference: [6, 1, 2], mode: 2, healthPolicy: 1 },
    weightedWaypoints: [{ destination: gateway, weight: 3 }],
  };
  const block = { address: ip, length: 8 };
  const match = {
    namespaces: [{ exact: 'a' }],
    notPrincipals: [{ presence: {} }],
    principals: [{ prefix: 'p' }, { suffix: 's' }],
    serviceAccounts: [{ namespace: 'ns', serviceAccount: 'sa' }],
    sourceIps: [block],
    destinationPorts: [80, 443],
  };
  const policy = { name: 'p', namespace: 'ns', rules: [{ clauses: [{ matches: [match, {}] }] }] };
  return [
    { typeUrl: xds.addressTypeUrl, payload: workloadProto.Address.encode({ workload }) },
    { typeUrl: xds.addressTypeUrl, payload: workloadProto.Address.encode({ service }) },
    { typeUrl: xds.authorizationTypeUrl, payload: securityProto.Authorization.encode(policy) },
  ];
}

/** Flips, removes, repeats, inserts and overwrites bytes; sometimes replaces all of them. */
export function mutate(bytes: Buffer, random: () => number): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit);
  if (random() < 0.05) return Buffer.from(Array.from({ length: below(64) }, () => below(256)));
  let mutated = Buffer.from(bytes);
  for (let round = 1 + below(4); round > 0; round--) {
    const at = below(mutated.length + 1);
    const end = at + below(16);
    const kind = below(5);
    if (kind === 0 && at < mutated.length) mutated[at] = (mutated[at] ?? 0) ^ (1 << below(8));
    else if (kind === 1 && at < mutated.length) mutated[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)] ?? 0;
    else if (kind === 2) mutated = Buffer.concat([mutated.subarray(0, at), mutated.subarray(end)]);
    else if (kind === 3) mutated = Buffer.concat([mutated.subarray(0, end), mutated.subarray(at)]);
    else mutated = Buffer.concat([mutated.subarray(0, at), Buffer.of(below(256)), mutated.subarray(at)]);
  }
  return mutated;
}

export interface FuzzResult {
  readonly accepted: number;
  readonly rejected: number;
}

/**
 * Feeds mutated payloads to the resource decoder. Every payload must become an update or be rejected with an error;
 * anything else throws.
 */
export function fuzzResources(iterations: number, random: () => number): FuzzResult {
  const originals = stock();
  const interner = new Interner();
  let accepted = 0;
  let rejected = 0;
  for (let iteration = 0; iteration < iterations; iteration++) {
    const { typeUrl, payload } = originals[iteration % originals.length] ?? {
      typeUrl: '',
      payload: Buffer.alloc(0),
    };
    const mutated = mutate(payload, random);
    try {
      const resource = { name: 'r', version: 'v', aliases: [], payload: mutated, damage: undefined };
      const update: MeshUpdate = decodeResource(typeUrl, resource, interner);
      if (!('kind' in update)) throw new TypeError('no update');
      accepted++;
    } catch (error) {
      if (!isRejection(error)) {
        throw new Error(`payload ${mutated.toString('hex')} broke the decoder`, { cause: error });
      }
      rejected++;
    }
  }
  return { accepted, rejected };
}

/** The decoder's errors have several classes: text that is not valid UTF-8 is a TypeError with a code. */
function isRejection(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const isMistake = error instanceof TypeError || error instanceof ReferenceError;
  return !isMistake || ('code' in error && error.code === 'ERR_ENCODING_INVALID_ENCODED_DATA');
}

/** Cuts a response as the thread of the connections to istiod does, and applies it. */
async function applyBytes(
  bytes: Buffer,
  target: Parameters<typeof applyResponse>[1],
): Promise<AppliedResponse> {
  const { header, pieces } = xds.splitResponse(bytes, 100);
  const rest = pieces.values();
  return await applyResponse({ header, nextPiece: async () => rest.next().value }, target);
}

/** Feeds mutated whole responses through decoding and application. */
export async function fuzzResponses(iterations: number, random: () => number): Promise<FuzzResult> {
  const resources = stock();
  const retained = new RetainedResources();
  const interner = new Interner();
  let accepted = 0;
  let rejected = 0;
  for (let iteration = 0; iteration < iterations; iteration++) {
    const typeUrl = iteration % 2 === 0 ? xds.addressTypeUrl : xds.authorizationTypeUrl;
    const original = xds.DeltaDiscoveryResponse.encode({
      typeUrl,
      nonce: 'n',
      resources: resources.map(({ payload }, index) => ({
        name: `r${index}`,
        aliases: ['alias'],
        version: 'v',
        resource: { typeUrl, value: payload },
      })),
      removedResources: ['r0', 'gone'],
    });
    const mutated = mutate(original, random);
    const response: AppliedResponse | undefined = await applyBytes(mutated, {
      interner,
      retained: () => retained,
      unconfirmed: () => undefined,
      apply: () => {},
      settled: () => {},
      notUnderstood: () => {},
    }).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'KMESH_XDS_RESPONSE_MALFORMED')
        return undefined;
      throw new Error(`response ${mutated.toString('hex')} broke the client`, { cause: error });
    });
    if (response === undefined) rejected++;
    else accepted++;
  }
  return { accepted, rejected };
}
