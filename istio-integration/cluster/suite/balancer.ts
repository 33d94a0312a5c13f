import { setTimeout as delay } from 'node:timers/promises';
import type { V1Service } from '@kubernetes/client-node';
import type { Api } from '../api/api.ts';
import { network } from '../bare/addresses.ts';

const EVERY_MS = 300;
/** The first and the last of the range are nobody's. */
const LAST = 254;

/** What gives addresses to services, in the place of a cloud's controller; kube-proxy of the nodes does the rest. */
export interface Balancer {
  /** Ends it, and fails with what it met, if it did. Addresses that were given stay. */
  stop(): Promise<void>;
}

/** Gives each service of type LoadBalancer an address of its own, until stopped. */
export function startBalancer(api: Pick<Api, 'services' | 'setBalancer'>): Balancer {
  const end = new AbortController();
  const work = async (): Promise<void> => {
    while (!end.signal.aborted) {
      await giveAddresses(api);
      await delay(EVERY_MS, undefined, { signal: end.signal }).catch(() => undefined);
    }
  };
  const done = work();
  // Nobody waits for it before the end.
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
    // One that changed meanwhile gets its address the next time.
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
