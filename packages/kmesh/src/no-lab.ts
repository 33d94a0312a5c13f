import { KmeshError } from '@kmesh/api';

/** Stands in for the lab in the single executable, which carries nothing that a node does not need. */
export function runDemo(): never {
  throw new KmeshError(
    'KMESH_USAGE',
    'this executable does not carry the lab: the demo runs from a checkout of Kmesh, with "npm start"',
  );
}
