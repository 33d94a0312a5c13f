/**
 * The control side of a node proxy, in a process of its own so that its memory can be told apart: connects to the
 * push server on the port of its first argument, and reports what a push costs up to the kernel tables. The kernel
 * programs are loaded and not attached: nothing on the machine changes its behaviour.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { xds } from '@kmesh/api';
import { createXdsClient } from '@kmesh/controller';
import { KernelTables, kernelMapsOf, loadKernelObject, MeshState } from '@kmesh/orchestration';
import { kernelBarrier } from '@kmesh/runtime';
import { watchOwnDelay } from './own-delay.ts';

const [port = 0] = process.argv.slice(2).map(Number);
const state = new MeshState({ node: 'node-1' });
const object = await loadKernelObject({
  path: fileURLToPath(new URL('../../build/bpf/kmesh.bpf.o', import.meta.url)),
});
const tables = new KernelTables({
  view: state,
  node: { node: 'node-1', network: '', clusterId: 'Kubernetes' },
  maps: kernelMapsOf(object),
  barrier: kernelBarrier,
  sliceMilliseconds: 4,
});
let inKernel = Promise.resolve();
state.subscribe((change) => {
  inKernel = tables.apply(change);
});
const logger = { error: console.error, warn: console.error, info: () => {}, debug: () => {} };
const resolution = 1;
const delays = monitorEventLoopDelay({ resolution });
let responses = 0;
/** Where a stretch that the parent wants to know the cost of began. */
let stretch = { cpu: process.cpuUsage(), begun: performance.now(), responses };

delays.enable();
const ownDelay = watchOwnDelay();
const client = createXdsClient(
  {
    controlPlane: { address: `http://127.0.0.1:${port}`, rootCa: '', clusterId: 'Kubernetes', headers: {} },
    node: {
      instanceIp: '10.0.0.1',
      podName: 'ztunnel-x',
      podNamespace: 'istio-system',
      nodeName: 'node-1',
      metadata: {},
    },
    onDemand: false,
    logger,
  },
  {
    apply: (updates) => {
      state.apply(updates);
    },
    applied: async (typeUrl) => {
      if (typeUrl !== xds.addressTypeUrl) return;
      const stateAt = String(process.hrtime.bigint());
      await inKernel;
      process.send?.({
        event: responses++ === 0 ? 'applied' : 'changeApplied',
        stateAt,
        at: String(process.hrtime.bigint()),
        workloads: state.counts.workloads,
        services: state.counts.services,
        longestDelay: delays.max / 1e6 - resolution,
        ownDelay: ownDelay.longest(),
        peakBytes: process.resourceUsage().maxRSS * 1024,
      });
    },
  },
);
process.on('message', (wish: 'begin' | 'end') => {
  if (wish === 'begin') {
    stretch = { cpu: process.cpuUsage(), begun: performance.now(), responses };
    delays.reset();
    ownDelay.reset();
    return;
  }
  const { user, system } = process.cpuUsage(stretch.cpu);
  const milliseconds = performance.now() - stretch.begun;
  process.send?.({
    event: 'stretch',
    cpuShare: (user + system) / 1000 / milliseconds,
    responses: responses - stretch.responses,
    longestDelay: delays.max / 1e6 - resolution,
    ownDelay: ownDelay.longest(),
    peakBytes: process.resourceUsage().maxRSS * 1024,
  });
});
process.on('disconnect', () => {
  void client.close().then(() => process.exit(0));
});
