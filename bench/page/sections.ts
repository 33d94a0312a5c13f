/** Sections of docs/performance.md for each suite, in order. A suite without a section has only its table of bounds. */
import type { Report } from '../harness/report.ts';

/** One figure of all contestants. */
interface BarsOf {
  readonly bars: string;
  readonly better: 'more' | 'less';
}

/** Figures that grow with the size of something, on logarithmic axes. */
interface GrowthOf {
  readonly growth: string;
  /** Name of the axis. */
  readonly x: string;
  readonly unit: string;
  /** Matches the size, as its first group, in the figure's name or in the contestant's. */
  readonly size: { readonly in: 'name' | 'contestant'; readonly pattern: RegExp };
  /** Names of the lines: contestants where the size is in the name, else figures; all of the unit by default. */
  readonly series?: readonly string[];
}

export interface Section {
  readonly suite: string;
  readonly title: string;
  /** The comparison in one or two sentences. */
  readonly about: string;
  /** Ratios for the summary at the top, by name. */
  readonly headlines?: readonly string[];
  /** Reasons why a figure misses its bound. */
  readonly shortfall?: string | ((report: Report) => string);
  readonly charts: readonly (BarsOf | GrowthOf)[];
}

const traffic: readonly BarsOf[] = [
  { bars: 'requests, 64 connections', better: 'more' },
  { bars: 'p50, 64 connections', better: 'less' },
  { bars: 'CPU per 1,000 requests', better: 'less' },
  { bars: 'p50, 1 connection', better: 'less' },
  { bars: 'p50 at 1,000 requests/s', better: 'less' },
  { bars: 'p99 at 1,000 requests/s', better: 'less' },
  { bars: 'new connections', better: 'more' },
  { bars: 'bulk, 1 stream', better: 'more' },
  { bars: 'bulk, 4 streams', better: 'more' },
];

const envoys = ['HTTP', 'TCP proxy'].map((variant) => `Envoy pair, ${variant}`);

/** A figure of one contestant divided by that of another. */
function quotient({ figures }: Report, name: string, of: string, to: string): string {
  const value = (contestant: string): number =>
    figures.find((one) => one.name === name && one.contestant === contestant)?.value ?? Number.NaN;
  return (value(of) / value(to)).toFixed(2);
}

/** No mesh, which Kmesh cannot exceed on the path of no mesh, beside a pair of Envoys that proxy TCP. */
function limitOfNoMesh(report: Report): string {
  const [requests, time] = ['requests, 64 connections', 'CPU per 1,000 requests'].map((name) =>
    quotient(report, name, 'no mesh', 'Envoy pair, TCP proxy'),
  );
  return `Within a node Kmesh's connections are plain TCP, so that no mesh is the limit: it makes ${requests} times the requests of a pair of Envoys that proxy TCP, with ${time} of their CPU time. Envoy's HTTP variant serves new connections of clients over few connections between the sidecars.`;
}

/** What remains of no mesh if the pods have only the rules that every ambient mesh has in its pods. */
function costOfRules(report: Report): string {
  const of = (name: string, bridge: string): string =>
    quotient(report, name, `only rules in the pods, ${bridge}`, `no mesh, ${bridge}`);
  const both = (name: string): string =>
    `${of(name, 'bare bridge')} on a bare bridge and ${of(name, 'node')} on a node`;
  return `istio-cni's rules alone, which every ambient mesh has in its pods, reduce the requests at 64 connections to ${both('requests, 64 connections')}, and new connections to ${both('new connections')}. bench/README.md has the parts of a new connection.`;
}

export const sections: readonly Section[] = [
  {
    suite: 'onenode',
    title: 'Two pods of one node',
    about:
      'A client and a server on one node, on a bare bridge: no mesh, Kmesh with its defaults (the kernel path), Kmesh without the kernel path, and pairs of sidecars with mutual TLS behind Istio’s capture rules. Envoy has Istio’s access log and list of statistics, but not the additions of Istio’s own build; HAProxy does mutual TLS only, the minimum cost of two hops through user space.',
    headlines: [
      ...envoys.flatMap((envoy) =>
        ['requests, 64 connections', 'CPU per 1,000 requests', 'new connections'].map(
          (name) => `${name}: kmesh / ${envoy}`,
        ),
      ),
      'p50, 1 connection: kmesh / no mesh',
      'bulk, 1 stream: kmesh / no mesh',
    ],
    shortfall: limitOfNoMesh,
    charts: traffic,
  },
  {
    suite: 'twonodes',
    title: 'Two nodes',
    about:
      'The same with the server on another node. Kmesh’s traffic takes the tunnel there, HBONE over mutual TLS, with the kernel path on or off.',
    headlines: [
      ...envoys.map((envoy) => `requests, 64 connections: kmesh / ${envoy}`),
      'requests, 64 connections: kmesh / no mesh',
      'new connections: kmesh / no mesh',
      'p50, 1 connection: kmesh / no mesh',
      'bulk, 1 stream: kmesh / no mesh',
      'bulk, 4 streams: kmesh / no mesh',
    ],
    shortfall:
      'With 64 connections a request costs the engines of both nodes 20 µs of CPU. Each receives and sends it once on the application’s socket, and frames of what is ready share the records between the nodes; 15.5 µs are the sends through the kernel’s TCP, both sides of it, of which netfilter 4.4. A new connection costs the engine 47 µs on the client’s node and 94 µs on the server’s, of which netfilter 6 and 21, the engine itself 8 and 9. Bulk: iperf3 does not process its bytes, so without a mesh a byte costs two copies, 0.7 s of CPU per GB. Through the tunnel it passes three TCP connections and is encrypted and decrypted, about 3.6 s per GB. perf attributes 27 % of the engine’s time to AES-256-GCM, 43 % to the kernel’s TCP and 10 % to copies between OpenSSL’s buffers and the engine’s. With one connection each message wakes two proxies in each direction, which dominates its latency: a pair of HAProxys with mutual TLS only is not noticeably faster.',
    charts: traffic,
  },
  {
    suite: 'samenode',
    title: 'Beside kube-proxy, and on a node with rules',
    about:
      'Two pods of one node, directly, through a service of kube-proxy’s iptables rules, and in the mesh; on a bare bridge, and on a node with bridge-nf, connection tracking and some twenty rules.',
    headlines: ['requests, 64 connections', 'new connections'].flatMap((name) => [
      `${name}: kmesh, bare bridge / no mesh, bare bridge`,
      `${name}: kmesh, node / no mesh, node`,
      `${name}: kmesh, node / kube-proxy, node`,
    ]),
    shortfall: costOfRules,
    charts: [
      { bars: 'requests, 64 connections', better: 'more' },
      { bars: 'CPU per 1,000 requests', better: 'less' },
      { bars: 'new connections', better: 'more' },
      { bars: 'bulk, 1 connection', better: 'more' },
    ],
  },
  {
    suite: 'handoff',
    title: 'New connections into the tunnel',
    about: 'Handed over by the connect hook, and captured by NAT rules.',
    charts: [
      { bars: 'new connections', better: 'more' },
      { bars: 'processor time', better: 'less' },
    ],
  },
  {
    suite: 'hook',
    title: 'The connect hook, by services',
    about:
      'Cost of a connect in the kernel with a growing table of services, compared with an empty program.',
    charts: [
      {
        growth: 'time of a connect',
        x: 'services',
        unit: 'ns',
        size: { in: 'name', pattern: /^connect at (\d+) services$/ },
      },
    ],
  },
  {
    suite: 'xds',
    title: 'The mesh, by workloads',
    about: 'A first push, one change afterwards, and changes of one percent of the workloads per second.',
    charts: [
      {
        growth: 'time of a push and of a change',
        x: 'workloads',
        unit: 'ms',
        size: { in: 'contestant', pattern: /^(\d+) workloads$/ },
        series: [
          'last byte to mesh state',
          'last byte to kernel tables',
          'one endpoint change to kernel',
          'longest delay of the event loop',
        ],
      },
      {
        growth: 'memory of the daemon',
        x: 'workloads',
        unit: 'MB',
        size: { in: 'contestant', pattern: /^(\d+) workloads$/ },
        series: ['size of the push', 'peak resident memory', 'resident memory afterwards'],
      },
    ],
  },
  {
    suite: 'scrape',
    title: 'A scrape, by series',
    about: 'Cost of a Prometheus scrape, and its effect on proxied traffic.',
    charts: [
      {
        growth: 'time of a scrape',
        x: 'series',
        unit: 'ms',
        size: { in: 'contestant', pattern: /^(\d+) series$/ },
        series: ['render as text', 'whole scrape with gzip'],
      },
    ],
  },
  {
    suite: 'growth',
    title: 'A node that fills',
    about: 'A daemon on the kernel path with growing numbers of pods, open connections and policies.',
    shortfall:
      'At rest the daemon reads each open connection once a second, which costs about 20 µs each, independent of the number of pods.',
    charts: [
      {
        growth: 'processor time at rest, by pods',
        x: 'pods of the node',
        unit: 'ms/s',
        size: { in: 'contestant', pattern: /^(\d+) pods of the node$/ },
        series: ['processor time at rest'],
      },
      {
        growth: 'enrolment of a pod',
        x: 'pods of the node',
        unit: 'ms',
        size: { in: 'contestant', pattern: /^(\d+) pods of the node$/ },
        series: ['enrolment of a pod'],
      },
      {
        growth: 'processor time at rest, by open connections',
        x: 'open connections',
        unit: 'ms/s',
        size: { in: 'contestant', pattern: /^(\d+) open connections$/ },
        series: ['processor time at rest'],
      },
      {
        growth: 'a change of policy in force, by open connections',
        x: 'open connections',
        unit: 'ms',
        size: { in: 'contestant', pattern: /^(\d+) open connections$/ },
        series: ['change of policy in force'],
      },
      {
        growth: 'a change of policy in force, by policies',
        x: 'policies',
        unit: 'ms',
        size: { in: 'contestant', pattern: /^(\d+) policies of the namespace$/ },
        series: ['change of policy in force'],
      },
    ],
  },
  {
    suite: 'decisions',
    title: 'Decisions',
    about: 'Authorisation against policies of ten rules, and outbound resolution, in the control thread.',
    charts: [
      {
        growth: 'time of an authorisation that nothing matches',
        x: 'policies',
        unit: 'µs',
        size: { in: 'contestant', pattern: /^(\d+) policies/ },
      },
      {
        growth: 'time of an outbound resolution',
        x: 'endpoints',
        unit: 'µs',
        size: { in: 'contestant', pattern: /^(\d+) endpoints$/ },
      },
    ],
  },
  {
    suite: 'dns',
    title: 'The DNS proxy',
    about: 'Answers from the mesh, compared with unbound with the same names.',
    charts: [
      { bars: 'local answers', better: 'more' },
      { bars: 'p99 at 5,000/s', better: 'less' },
    ],
  },
  {
    suite: 'routes',
    title: 'Routes',
    about: 'Time to write routes to the kernel tables, and the shares of 10,000 real connections.',
    charts: [],
  },
  {
    suite: 'events',
    title: 'Events',
    about: 'Kernel events to metrics and access log.',
    charts: [{ bars: 'cost of one connection', better: 'less' }],
  },
  {
    suite: 'restart',
    title: 'Restarts',
    about: 'The daemon is killed every second while a pod dials on the kernel path.',
    charts: [],
  },
  {
    suite: 'footprint',
    title: 'The footprint',
    about: 'Memory of the daemon at rest, and its time to become ready.',
    charts: [
      { bars: 'resident memory', better: 'less' },
      { bars: 'start to ready', better: 'less' },
    ],
  },
];
