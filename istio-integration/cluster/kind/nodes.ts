import { machineNodes, type Nodes } from '../bare/nodes.ts';
import { readState } from '../bare/state.ts';
import { kindNodes } from './cluster.ts';

/** The nodes of the running cluster, of either backend. */
export function clusterNodes(): Nodes {
  const state = readState();
  if (state === undefined) throw new Error('there is no cluster');
  return state.backend === 'kind' ? kindNodes(state.nodes) : machineNodes();
}
