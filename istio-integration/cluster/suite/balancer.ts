import { setTimeout as delay } from 'node:timers/promises';
import type { V1Service } from '@kubernetes/client-node';
import type { Api } from '../api/api.ts';
import { network } from '../bare/addresses.ts';

const EVERY_MS = 300;
/** The first and the last address of the range are not assigned. */
const LAST = 254;

/** Assigns addresses to services, like a cloud's controller; the nodes' kube-proxy forwards the connections. */
export interface Balancer {
  /** Stops it, and throws its error, if any. Assigned addresses stay. */
  stop(): Promise<void>;
}

/** Assigns an address to each service of type LoadBalancer, until stopped. */
export function startBalancer(api: Pick<Api, 'services' | 'setBalancer'>): Balancer {
  const end = new AbortController();
  const work = async (): Promise<void> => {
    while (!end.signal.aborted) {
      await giveAddresses(api);
      await delay(EVERY_MS, undefined, { signal: end.signal }).catch(() => undefined);
    }
  };
  const done = work();
  // Its result is awaited only at the end.
  done.catch(() => undefined);
  return {
    stop() {
      end.abort();
      return done;
    },
  };
}

async function giveAddresses(api: Pick<Api, 'services' | 'setBalancer'>): Promise<void> {
  const services = (await api.services()).filter(({ spec }) => spec?.type === 'LoadBalancer');
  const taken = new Set(services.flatMap((service) => addressOf(service) ?? []));
  for (const service of services.filter((one) => addressOf(one) === undefined)) {
    const ip = freeAddress(taken);
    // A service that changed meanwhile gets its address at the next attempt.
    if (await api.setBalancer(service, ip)) taken.add(ip);
  }
}

const addressOf = (service: V1Service): string | undefined => service.status?.loadBalancer?.ingress?.[0]?.ip;

function freeAddress(taken: ReadonlySet<string>): string {
  const prefix = network.balancers.replace(/\d+\/\d+$/, '');
  for (let number = 1; number <= LAST; number += 1)
    if (!taken.has(`${prefix}${number}`)) return `${prefix}${number}`;
  throw new Error(`${network.balancers} has no address left for a service`);
}
