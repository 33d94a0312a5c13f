import type { Service, Why, WhyStep, WhyStepKind, Workload } from '@kmesh/api';
import {
  authorize,
  candidatePolicies,
  candidatesOf,
  describeAuthorization,
  eligibleCandidates,
  formatSocketAddress,
  identityUriOf,
  ipFamily,
  type MeshState,
  type OutboundDecision,
  resolveOutbound,
  serviceKey,
} from '@kmesh/orchestration';
import type { FrontendEntry } from '@kmesh/runtime';
import { type WhySubject, whySubject } from './why-target.ts';

/** What the answer is drawn from: the state and tables by which this proxy itself decides. */
export interface WhySources {
  readonly state: MeshState;
  readonly node: {
    readonly node: string;
    readonly network: string;
    readonly clusterDomain: string;
    readonly preferredNamespace?: string | undefined;
    readonly ipv6?: boolean;
  };
  /** `undefined` while the kernel path is off. */
  readonly kernel:
    | {
        frontendFor(ip: string, port: number, clientNamespace: string): FrontendEntry | undefined;
        /** Whether a workload's pod is enrolled in the tables. */
        serves(workloadUid: string): boolean;
      }
    | undefined;
  readonly kernelPathOff: string;
}

const listedEndpoints = 8;

/**
 * What would become of a connection, step by step: the functions and tables that decide are asked, nothing is sent.
 *
 * @throws KMESH_QUESTION when source or destination are not understood; see {@link whySubject}
 */
export function explainConnection(sources: WhySources, source: string, destination: string): Why {
  const { state, node } = sources;
  const subject = whySubject(state, node, source, destination);
  const steps: WhyStep[] = [
    { step: 'source', text: describeSource(subject.source, subject.clientIp, node.node) },
    ...subject.notes.map((text): WhyStep => ({ step: 'address', text })),
  ];
  const trace: string[] = [];
  const request = { source: subject.source, clientIp: subject.clientIp, destination: subject.target };
  const decision = resolveOutbound(state, request, { trace });
  const [address, ...rest] = trace;
  if (address !== undefined) steps.push({ step: kindOf(address, 'address'), text: address });
  if (decision.service !== undefined) steps.push(...describeService(state, subject, decision.service));
  for (const text of rest) steps.push({ step: kindOf(text, 'route'), text });
  if (decision.kind !== 'refused') steps.push({ step: 'waypoint', text: describeWaypoint(decision) });
  const policy = decidePolicy(state, subject, decision);
  steps.push(...policy.steps);
  const path = decidePath(sources, subject, decision);
  steps.push({ step: 'path', text: path.text });
  return {
    source: subject.source.uid,
    destination: formatSocketAddress(subject.target.ip, subject.target.port),
    verdict: decision.kind === 'refused' ? 'refused' : policy.allowed ? 'allowed' : 'denied',
    path: path.path,
    steps,
  };
}

function describeSource(source: Workload, clientIp: string, node: string): string {
  const where =
    node === '' || source.node === node
      ? 'on this node'
      : `on node ${source.node}, whose own proxy decides; this is what it decides with the same mesh`;
  return `${source.namespace}/${source.name} at ${clientIp}, identity ${identityUriOf(source)}, ${where}`;
}

function describeService(state: MeshState, subject: WhySubject, service: Service): WhyStep[] {
  const { source, target } = subject;
  const ports = [...service.ports].map(([port, to]) => (to === 0 ? `${port}→named` : `${port}→${to}`));
  const mode = service.loadBalancer?.mode ?? 'Standard';
  const preferences = service.loadBalancer?.routingPreferences.join(', ') ?? '';
  const endpoints = [...state.endpoints(serviceKey(service)).values()];
  const candidates = candidatesOf(state, service, {
    port: target.port,
    preferredFamily: ipFamily(target.ip),
    source,
    requestedIp: target.ip,
  });
  const eligible = eligibleCandidates(candidates, service.loadBalancer, source).filter(
    ({ weight }) => weight > 0,
  );
  const total = eligible.reduce((sum, { weight }) => sum + weight, 0);
  const shares = eligible.slice(0, listedEndpoints).map(({ workload, weight, targetPort }) => {
    const share = Math.round((weight / total) * 100);
    return `${workload.namespace}/${workload.name}:${targetPort} ${share} %`;
  });
  if (eligible.length > shares.length) shares.push(`${eligible.length - shares.length} more`);
  const unhealthy = endpoints.filter(({ status }) => status !== 'Healthy').length;
  return [
    {
      step: 'service',
      text:
        `${service.namespace}/${service.hostname}: ports ${ports.join(', ') || 'none'}; balancing ${mode}` +
        (preferences === '' ? '' : ` by ${preferences}`),
    },
    {
      step: 'endpoint',
      text:
        `${endpoints.length} endpoints${unhealthy > 0 ? `, ${unhealthy} of them not healthy` : ''}; ` +
        `${candidates.length} can take port ${target.port}, ${eligible.length} may be drawn` +
        (shares.length === 0 ? '' : `: ${shares.join(', ')}`),
    },
  ];
}

/** The trace of the routing speaks in sentences; their words tell what they are about. */
function kindOf(sentence: string, otherwise: WhyStepKind): WhyStepKind {
  if (/^service \S+ port /.test(sentence)) return 'endpoint';
  if (/^route /.test(sentence)) return 'route';
  if (/waypoint/i.test(sentence)) return 'waypoint';
  if (/gateway/.test(sentence)) return 'gateway';
  return otherwise;
}

function describeWaypoint(decision: Exclude<OutboundDecision, { kind: 'refused' }>): string {
  const final = decision.kind === 'resolveHostname' ? decision.pending : decision;
  if (final.kind === 'hbone' && final.via === 'waypoint') {
    return `through waypoint ${final.workload.namespace}/${final.workload.name}, which applies the policies and routes of its own`;
  }
  return 'none on the way';
}

function decidePolicy(
  state: MeshState,
  subject: WhySubject,
  decision: OutboundDecision,
): { readonly allowed: boolean; readonly steps: readonly WhyStep[] } {
  const say = (text: string, allowed = true) => ({ allowed, steps: [{ step: 'policy' as const, text }] });
  if (decision.kind === 'refused') return say('not asked: the connection is refused before', false);
  const final = decision.kind === 'resolveHostname' ? decision.pending : decision;
  const { workload } = decision;
  if (workload === undefined) return say('none: the destination is not of the mesh');
  if (final.kind === 'tcp')
    return say(`none: ${workload.namespace}/${workload.name} takes plain TCP, no proxy stands before it`);
  if (final.kind === 'doubleHbone') return say('decided in the other network, at the final destination');
  const { source, clientIp, target } = subject;
  const authority = decision.kind === 'hbone' ? decision.authority : '';
  const port = Number(/:(\d+)$/.exec(authority)?.[1] ?? target.port);
  const answer = authorize(
    state,
    {
      identity: {
        trustDomain: source.trustDomain,
        namespace: source.namespace,
        serviceAccount: source.serviceAccount,
      },
      sourceIp: clientIp,
      destinationIp: workload.addresses[0] ?? target.ip,
      destinationPort: port,
    },
    workload,
  );
  const considered = candidatePolicies(state, workload).map(({ namespace, name }) => `${namespace}/${name}`);
  const steps: WhyStep[] = [
    {
      step: 'policy',
      text:
        `at ${workload.namespace}/${workload.name}: ${describeAuthorization(answer)}` +
        (considered.length === 0 ? '' : ` (considered: ${considered.join(', ')})`),
    },
    ...answer.notes.map(
      ({ kind, policy }): WhyStep => ({ step: 'policy', text: `${kind} ${policy}`.trim() }),
    ),
  ];
  return { allowed: answer.allowed, steps };
}

function decidePath(
  sources: WhySources,
  subject: WhySubject,
  decision: OutboundDecision,
): { readonly path: Why['path']; readonly text: string } {
  const { kernel } = sources;
  const { source, target } = subject;
  const name = `${source.namespace}/${source.name}`;
  const refused = decision.kind === 'refused';
  const byTunnel = (text: string) => ({ path: refused ? ('none' as const) : ('tunnel' as const), text });
  if (kernel === undefined) return byTunnel(`tunnel: the kernel path is off (${sources.kernelPathOff})`);
  if (!kernel.serves(source.uid)) return byTunnel(`tunnel: ${name} is not in this node's kernel tables`);
  const entry = kernel.frontendFor(target.ip, target.port, source.namespace);
  switch (entry?.action) {
    case undefined: {
      const known = decision.service !== undefined;
      return known
        ? byTunnel(
            'the address is in the range of a service: the kernel asks its CIDR table first, then the tunnel',
          )
        : {
            path: 'outside',
            text: 'outside: the kernel tables do not know the address and leave the connection alone',
          };
    }
    case 'tunnel':
      return byTunnel(
        'tunnel: the kernel tables leave this address to it (HBONE, a waypoint or another network)',
      );
    case 'refuse':
      return {
        path: 'none',
        text: 'refused in the kernel, as connection refused: the service does not declare the port',
      };
    case 'outside':
      return { path: 'outside', text: 'outside: the kernel tables say to leave the dialled address alone' };
    case 'verdict':
      return {
        path: 'kernel',
        text: 'kernel where the verdict is allow, else tunnel: an HBONE workload of this node',
      };
    case 'workload':
      return { path: 'kernel', text: "kernel: the address is a plain workload's own and is kept" };
    case 'balance':
      if (refused)
        return { path: 'none', text: 'refused in the kernel, as connection refused: no endpoint can answer' };
      return decision.kind === 'tcp'
        ? {
            path: 'kernel',
            text: `kernel: balanced in the connect call (service port ${entry.target} of the tables)`,
          }
        : byTunnel('tunnel: the endpoint needs it; endpoints that take plain TCP are reached in the kernel');
  }
}
