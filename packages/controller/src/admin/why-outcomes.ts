import type { WhyOutcome, WhyStep, Workload } from '@kmesh/api';
import {
  authorize,
  backendEndpoints,
  candidatePolicies,
  candidatesOf,
  describeAuthorization,
  eligibleCandidates,
  formatRoutePick,
  formatSocketAddress,
  ipFamily,
  type MeshState,
  type OutboundDecision,
  type ResolvedBackend,
  resolveOutbound,
  routeOf,
  serviceWaypoints,
} from '@kmesh/orchestration';
import { type ConnectOutcome, type ConnectReason, pathOfReason } from '@kmesh/runtime';
import type { WhySubject } from './why-target.ts';

/** Kernel tables; present while the kernel path is on. */
export interface WhyKernel {
  /** Returns the possible outcomes of a pod's connect, or `undefined` when the pod is not enrolled in the tables. */
  connectOutcomes(
    workloadUid: string,
    destination: { readonly ip: string; readonly port: number },
  ): readonly ConnectOutcome[] | undefined;
  workloadUid(id: number): string | undefined;
}

/** One possible outcome of a connection, and how it was decided. */
interface Outcome extends WhyOutcome {
  readonly decision: OutboundDecision;
  readonly trace: readonly string[];
  readonly policy: PolicyAnswer;
}

/** A decision that the tunnel path may make, and its share of all draws. */
interface DrawnDecision {
  readonly decision: OutboundDecision;
  readonly trace: readonly string[];
  readonly share: number;
}

/** Draws to sample where the endpoints cannot be enumerated. */
const DRAWS = 64;
/** Limit of endpoints to enumerate; each needs a routing decision. */
const MOST_ENDPOINTS = 128;

const why: Readonly<Record<ConnectReason, string>> = {
  kernelBalanced: 'balanced in the connect call',
  kernelWorkload: "the address is a workload's own and is kept",
  outsideUnknown: 'the kernel tables do not know the address and leave the connection alone',
  outsidePassthrough: 'the kernel tables say to leave the dialled address alone',
  outsideLoopback: 'the pod calls itself',
  outsideProxy: "the proxy's own socket",
  tunnelFrontend: 'the kernel tables leave this address to it (HBONE, a waypoint or another network)',
  tunnelEndpoint: 'the drawn endpoint needs it; endpoints that take plain TCP are reached in the kernel',
  tunnelSlot: 'the tables have an empty slot',
  tunnelIncomplete: 'the kernel tables are full, and do not know the address',
  tunnelFlow: 'there is no room to remember the connection',
  tunnelVerdict:
    'the kernel is not certain that policies allow it: by their rules, or for want of an identity',
  tunnelDns: 'port 53 is the DNS proxy’s',
  tunnelMark: 'the socket already has a mark',
  tunnelUnreachable: "the node's network does not let the port through, so it is tunnelled for a while",
  tunnelPort: 'the socket is bound to a port that already has a connection to the endpoint',
  tunnelOwn: 'the pod is the endpoint itself: its packets do not leave it, so nothing attests who sends them',
  refusedFrontend: 'refused in the kernel, as connection refused: the service does not declare the port',
  refusedEmpty: 'refused in the kernel, as connection refused: no endpoint can answer',
  refusedBare:
    'refused in the kernel, as connection refused: the tunnel has to serve it, and the pod has no capture rules',
};

/**
 * Returns every possible outcome of a connection, the most likely first. Reads the kernel tables as the connect hook
 * does, and calls the tunnel path's own routing function for what the tables leave to the tunnel.
 */
export function outcomesOf(
  state: MeshState,
  subject: WhySubject,
  kernel: WhyKernel | undefined,
  kernelPathOff: string,
): readonly Outcome[] {
  const { source, target } = subject;
  const inKernel = kernel?.connectOutcomes(source.uid, target);
  if (kernel === undefined || inKernel === undefined) {
    const because =
      kernel === undefined
        ? `the kernel path is off (${kernelPathOff})`
        : `${source.namespace}/${source.name} is not in this node's kernel tables`;
    return merge(
      decisions(state, subject, undefined).map((drawn) => tunnelled(state, subject, drawn, because)),
    );
  }
  return merge(
    inKernel.flatMap((outcome): Outcome[] => {
      const { reason, share, workload } = outcome;
      const pick = workload === 0 ? undefined : kernel.workloadUid(workload);
      const drawn = decisions(state, subject, pick);
      if (pathOfReason(reason) === 'tunnel' && reason !== 'tunnelDns')
        return drawn.map((one) =>
          tunnelled(state, subject, { ...one, share: one.share * share }, why[reason]),
        );
      const [first] = drawn;
      return first === undefined ? [] : [decidedInKernel(state, subject, { ...first, share }, outcome)];
    }),
  );
}

function decidedInKernel(
  state: MeshState,
  { source, clientIp, target }: WhySubject,
  { decision, trace, share }: DrawnDecision,
  { reason, address = target }: ConnectOutcome,
): Outcome {
  const path = pathOfReason(reason);
  // Connections that the kernel leaves alone are still measured, as connections of the kernel path.
  const leftAlone = reason === 'outsideUnknown' || reason === 'outsidePassthrough';
  const word = leftAlone ? 'passthrough' : reason.slice(path.length).toLowerCase();
  const policy = policyAnswer(state, { source, clientIp, target }, decision);
  if (path === 'refused') {
    const refused = { path: 'none', verdict: 'refused', workload: '', address: '' } as const;
    return { ...refused, share, reason: word, because: why[reason], decision, trace, policy };
  }
  const mesh = path === 'kernel' && decision.kind !== 'refused' ? decision.workload : undefined;
  return {
    share,
    path: path === 'kernel' || leftAlone ? 'kernel' : 'outside',
    reason: word,
    verdict: 'allowed',
    workload: nameOf(mesh),
    address: formatSocketAddress(address.ip, address.port),
    because: why[reason],
    ...{ decision, trace, policy },
  };
}

function tunnelled(
  state: MeshState,
  { source, clientIp, target }: WhySubject,
  { decision, trace, share }: DrawnDecision,
  because: string,
): Outcome {
  const policy = policyAnswer(state, { source, clientIp, target }, decision);
  const common = { share, because, decision, trace, policy };
  if (decision.kind === 'refused') {
    const refused = { path: 'none', verdict: 'refused', workload: '', address: '' } as const;
    return { ...common, ...refused, reason: decision.category };
  }
  const final = decision.kind === 'resolveHostname' ? decision.pending : decision;
  const reasons = { tcp: 'passthrough', hbone: 'hbone', doubleHbone: 'double_hbone' } as const;
  return {
    ...common,
    path: 'tunnel',
    reason: reasons[final.kind],
    verdict: policy.allowed ? 'allowed' : 'denied',
    workload: nameOf(decision.workload),
    address:
      decision.kind === 'resolveHostname'
        ? `${decision.hostname}:${decision.nextHopPort}`
        : formatSocketAddress(decision.nextHop.ip, decision.nextHop.port),
  };
}

function nameOf(workload: Workload | undefined): string {
  return workload === undefined ? '' : `${workload.namespace}/${workload.name}`;
}

/** Returns the tunnel path's decisions: for the endpoint already drawn, else for each draw that it may make. */
function decisions(state: MeshState, subject: WhySubject, pick: string | undefined): DrawnDecision[] {
  const { source, clientIp, target } = subject;
  const decide = (share: number, chosen: string | undefined, random: () => number): DrawnDecision => {
    const trace: string[] = [];
    const request = { source, clientIp, destination: target, pick: chosen };
    return { decision: resolveOutbound(state, request, { trace, random }), trace, share };
  };
  const first = decide(1, pick, () => 0.5);
  const { service } = first.decision;
  if (pick !== undefined) return [first];
  const backends = backendsOf(state, subject, first.decision);
  if (backends !== undefined) {
    const sum = backends.reduce((total, { weight }) => total + weight, 0);
    return backends.flatMap((backend) => {
      const share = backend.weight / sum;
      const eligible = backendEndpoints(state, backend, source, ipFamily(target.ip)).filter(
        ({ weight }) => weight > 0,
      );
      const total = eligible.reduce((all, { weight }) => all + weight, 0);
      if (eligible.length > 0 && eligible.length <= MOST_ENDPOINTS) {
        return eligible.map(({ workload, weight }) =>
          decide((share * weight) / total, formatRoutePick(backend, workload.uid), () => 0.5),
        );
      }
      const chosen = formatRoutePick(backend, '');
      return Array.from({ length: DRAWS }, (_, index) => decide(share / DRAWS, chosen, spread(index)));
    });
  }
  if (service !== undefined && serviceWaypoints(service).length === 0) {
    const { ip, port } = target;
    const query = { port, preferredFamily: ipFamily(ip), source, requestedIp: ip } as const;
    const candidates = candidatesOf(state, service, query);
    const eligible = eligibleCandidates(candidates, service.loadBalancer, source).filter(
      ({ weight }) => weight > 0,
    );
    const total = eligible.reduce((sum, { weight }) => sum + weight, 0);
    if (eligible.length === 0) return [first];
    if (eligible.length <= MOST_ENDPOINTS)
      return eligible.map(({ workload, weight }) => decide(weight / total, workload.uid, () => 0.5));
  }
  return Array.from({ length: DRAWS }, (_, index) => decide(1 / DRAWS, undefined, spread(index)));
}

/** Returns the backends of the route that a decision used, if any. */
function backendsOf(
  state: MeshState,
  { source, target }: WhySubject,
  decision: OutboundDecision,
): readonly ResolvedBackend[] | undefined {
  const { route: use } = decision.kind === 'resolveHostname' ? decision.pending : decision;
  if (use === undefined) return undefined;
  const call = { service: use.service, port: target.port, clientNamespace: source.namespace };
  const route = routeOf(state, call);
  return route?.kind === 'applied' ? route.backends : undefined;
}

/** Returns a generator of numbers that are spread evenly, over all indexes and within one decision. */
function spread(index: number): () => number {
  let next = (index + 0.5) / DRAWS;
  return () => {
    const draw = next;
    next = (next + 0.618_033_988_749_895) % 1;
    return draw;
  };
}

function merge(outcomes: readonly Outcome[]): readonly Outcome[] {
  const merged = new Map<string, Outcome>();
  for (const outcome of outcomes) {
    const { path, reason, verdict, workload, address, because } = outcome;
    const key = JSON.stringify([path, reason, verdict, workload, address, because]);
    const known = merged.get(key);
    merged.set(key, known === undefined ? outcome : { ...known, share: known.share + outcome.share });
  }
  return [...merged.values()].sort((left, right) => right.share - left.share);
}

/** Whether policies at the destination allow a connection, and which ones decided. */
interface PolicyAnswer {
  readonly allowed: boolean;
  readonly steps: readonly WhyStep[];
}

/** Evaluates what the destination's proxy decides, using the policies that this proxy knows. */
function policyAnswer(
  state: MeshState,
  subject: Pick<WhySubject, 'source' | 'clientIp' | 'target'>,
  decision: OutboundDecision,
): PolicyAnswer {
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
      destinationIp: decision.kind === 'hbone' ? decision.nextHop.ip : (workload.addresses[0] ?? target.ip),
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
