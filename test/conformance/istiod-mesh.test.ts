import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Identity, Logger, MeshUpdate, Workload } from '@kmesh/api';
import { CertificateClient, type ControlPlane, createXdsClient, spiffeUri } from '@kmesh/controller';
import { type FakeIstiod, generatedService, generatedWorkload, startFakeIstiod } from '@kmesh/lab';
import { authorize, MeshState, parseIdentity, resolveOutbound } from '@kmesh/orchestration';

const quiet: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };

/** A mesh that the control plane encoded and the node decoded. */
async function received(
  context: TestContext,
  mesh: readonly MeshUpdate[],
): Promise<{ readonly istiod: FakeIstiod; readonly state: MeshState; readonly controlPlane: ControlPlane }> {
  const istiod = await startFakeIstiod({ mesh });
  const state = new MeshState({ node: 'node-0' });
  const controlPlane: ControlPlane = {
    address: istiod.xdsAddress,
    rootCa: istiod.rootPem,
    token: istiod.token,
    clusterId: 'Kubernetes',
    headers: {},
  };
  const client = createXdsClient(
    {
      controlPlane,
      node: {
        instanceIp: '1.1.1.1',
        podName: 'z',
        podNamespace: 'istio-system',
        nodeName: 'node-0',
        metadata: {},
      },
      onDemand: false,
      logger: quiet,
    },
    { apply: (updates) => void state.apply(updates) },
  );
  context.after(async () => {
    await client.close();
    await istiod.close();
  });
  await istiod.waitForSettled();
  return { istiod, state, controlPlane };
}

test('NEG-33: trust domain other than cluster.local, account default: certificate and principal policy agree', async (context) => {
  const workload: Workload = {
    ...generatedWorkload(0, 1, 1),
    trustDomain: 'mesh.example',
    serviceAccount: 'default',
    authorizationPolicies: [],
  };
  const principal = `mesh.example/ns/${workload.namespace}/sa/default`;
  const { state, controlPlane } = await received(context, [
    { kind: 'workload', workload },
    {
      kind: 'policy',
      policy: {
        name: 'only-itself',
        namespace: workload.namespace,
        scope: 'Namespace',
        action: 'Allow',
        rules: [[[{ principals: [{ kind: 'Exact', value: principal }] }]]],
        dryRun: false,
      },
    },
  ]);
  const own = state.workload(workload.uid);
  assert.ok(own !== undefined);
  assert.deepEqual([own.trustDomain, own.serviceAccount], ['mesh.example', 'default']);

  const client = new CertificateClient({
    controlPlane,
    lifetimeSeconds: 60,
    impersonate: true,
    logger: quiet,
  });
  const { chain } = await client.issue(own);
  client.close();
  const leaf = chain[0];
  const proven = leaf === undefined ? undefined : parseIdentity(spiffeUri(leaf) ?? '');
  const from = (identity: Identity | undefined): boolean =>
    authorize(
      state,
      { identity, sourceIp: '10.0.0.1', destinationIp: '10.0.0.2', destinationPort: 8080 },
      own,
    ).allowed;
  assert.ok(from(proven));
  assert.ok(!from(proven === undefined ? undefined : { ...proven, trustDomain: 'cluster.local' }));
  assert.ok(!from(undefined));
});

test('NEG-34: with a network set, lookups by address and by service stay on that network', async (context) => {
  const network = 'network-1';
  const [client, server] = [0, 1].map((index) => ({ ...generatedWorkload(index, 1, 1), network }));
  assert.ok(client !== undefined && server !== undefined);
  const service = generatedService(0);
  const vip = service.vips[0]?.ip ?? '';
  const { state } = await received(context, [
    { kind: 'service', service: { ...service, vips: [{ network, ip: vip }] } },
    { kind: 'workload', workload: client },
    { kind: 'workload', workload: server },
  ]);
  const address = server.addresses[0] ?? '';
  assert.equal(state.workloadByAddress(network, address)?.uid, server.uid);
  assert.equal(state.workloadByAddress('', address), undefined);
  assert.equal(state.servicesByVip(network, vip).length, 1);
  const source = state.workload(client.uid);
  assert.ok(source !== undefined);
  for (const [ip, port] of [
    [address, 8080],
    [vip, 80],
  ] as const) {
    const decision = resolveOutbound(state, {
      source,
      clientIp: source.addresses[0] ?? '',
      destination: { ip, port },
    });
    assert.equal(decision.kind, 'hbone', `to ${ip}`);
  }
});
