import type { WhyStep } from '@kmesh/api';
import {
  authorize,
  candidatePolicies,
  describeAuthorization,
  type MeshState,
  type OutboundDecision,
} from '@kmesh/orchestration';
import type { WhySubject } from './why-target.ts';

/** Whether policies let a connection in where it arrives, and which. */
export interface PolicyAnswer {
  readonly allowed: boolean;
  readonly steps: readonly WhyStep[];
}

/** What the proxy of the destination decides, by the policies that this one knows. */
export function policyAnswer(
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
