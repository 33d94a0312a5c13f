import { KmeshError } from '@kmesh/api';

/** A request to the admin API that cannot be answered as it is; becomes status 400 with this text. */
export function badQuery(message: string): KmeshError {
  return new KmeshError('KMESH_QUESTION', message);
}
