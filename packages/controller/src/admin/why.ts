import type { Service, Why, WhyOutcome, WhyStep, WhyStepKind, Workload } from '@kmesh/api';
import {
  candidatesOf,
  eligibleCandidates,
  formatSocketAddress,
  identityUriOf,
  ipFamily,
  type MeshState,
  type OutboundDecision,
  serviceKey,
} from '@kmesh/orchestration';
import { outcomesOf, type WhyKernel } from './why-outcomes.ts';
import { type WhySubject, whySubject } from './why-target.ts';

/** Sources of the answer: the state and tables that this proxy itself decides by. */
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
  readonly kernel: WhyKernel | undefined;
  readonly kernelPathOff: string;
}

const listedEndpoints = 8;

/**
 * Explains step by step what would happen to a connection. Uses the same functions and tables that decide real
 * connections, and sends nothing. The steps are those of the most likely outcome; the last lines list the outcomes.
 *
 * @throws KMESH_QUESTION when source or destination cannot be resolved; see {@link whySubject}
 */
export function explainConnection(sources: WhySources, source: string, destination: string): Why {
  const { state, node } = sources;
  const subject = whySubject(state, node, source, destination);
  const outcomes = outcomesOf(state, subject, sources.kernel, sources.kernelPathOff);
  const [likely] = outcomes;
  if (likely === undefined) throw new RangeError('a connection without an outcome');
  const { decision, trace, policy } = likely;
  const steps: WhyStep[] = [
    { step: 'source', text: describeSource(subject.source, subject.clientIp, node.node) },
    ...subject.notes.map((text): WhyStep => ({ step: 'address', text })),
  ];
  const [address, ...rest] = trace;
  if (address !== undefined) steps.push({ step: kindOf(address, 'address'), text: address });
  if (decision.service !== undefined) steps.push(...describeService(state, subject, decision.service));
  for (const text of rest) steps.push({ step: kindOf(text, 'route'), text });
  if (decision.kind !== 'refused') steps.push({ step: 'waypoint', text: describeWaypoint(decision) });
  steps.push(...policy.steps);
  for (const outcome of outcomes.slice(0, listedEndpoints))
    steps.push({ step: 'path', text: describeOutcome(outcome) });
  if (outcomes.length > listedEndpoints)
    steps.push({ step: 'path', text: `${outcomes.length - listedEndpoints} more` });
  return {
    source: subject.source.uid,
    destination: formatSocketAddress(subject.target.ip, subject.target.port),
    verdict: outcomes.every(({ verdict }) => verdict === likely.verdict) ? likely.verdict : 'varies',
    path: outcomes.every(({ path }) => path === likely.path) ? likely.path : 'varies',
    outcomes: outcomes.map(({ share, path, reason, verdict, workload, address: to, because }) => ({
      ...{ share, path, reason, verdict, workload, address: to, because },
    })),
    steps,
  };
}

function describeOutcome(outcome: WhyOutcome): string {
  const { share, path, verdict, workload, address, because } = outcome;
  const percent = share > 0.995 ? '' : `${Math.max(1, Math.round(share * 100))} %: `;
  const to = [workload, address].filter((part) => part !== '').join(' at ');
  const end = verdict === 'allowed' ? '' : `, ${verdict}`;
  if (path === 'none') return `${percent}${because}${because.startsWith('refused') ? '' : '; refused there'}`;
  return `${percent}${path}${to === '' ? '' : ` to ${to}`}: ${because}${end}`;
}

function describeSource(source: Workload, clientIp: string, node: string): string {
  const where =
    node === '' || source.node === node
      ? 'on this node'
      : `on node ${source.node}, whose own proxy decides; this is its decision if it has the same mesh state`;
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

/** Derives the step's kind from the words of a sentence in the routing trace. */
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
    return `through waypoint ${final.workload.namespace}/${final.workload.name}, which applies its own policies and routes`;
  }
  return 'none on the way';
}
