import { KmeshError } from '@kmesh/api';

/** Replaces the lab in the single executable, which contains only what a node needs. */
export function runDemo(): never {
  throw new KmeshError(
    'KMESH_USAGE',
    'this executable does not contain the lab: run the demo from a checkout of Kmesh, with "npm start"',
  );
}
