import { execFileSync } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger, MeshUpdate } from '@kmesh/api';
import {
  connectSocket,
  createNetworkNamespace,
  type NetworkNamespace,
  openListener,
  openUdpSocket,
} from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import dnsPacket, { type DecodedPacket, type Packet } from 'dns-packet';
import { DnsProxy } from '../../src/index.ts';
import { pod } from './mesh.ts';

type DnsProxyOptions = ConstructorParameters<typeof DnsProxy>[0];

export interface PodNetworkOptions {
  readonly resolvers?: readonly string[];
  readonly mesh?: readonly MeshUpdate[];
  readonly unknown?: boolean;
  readonly withoutIpv6?: boolean;
  readonly settings?: Partial<DnsProxyOptions['settings']>;
  readonly proxy?: Partial<DnsProxyOptions>;
}

/** A pod's network namespace with a DNS proxy, and further addresses for resolvers. */
export class PodNetwork implements AsyncDisposable {
  readonly namespace: NetworkNamespace;
  readonly state = new MeshState();
  readonly warnings: string[] = [];
  readonly debug: string[] = [];
  proxy!: DnsProxy;
  #options: PodNetworkOptions = {};
  readonly #directory = mkdtempSync(join(tmpdir(), 'kmesh-dns-'));
  readonly #stops: (() => void)[] = [];

  private constructor(resolvers: readonly string[]) {
    this.namespace = createNetworkNamespace('dns-test');
    for (const address of resolvers) {
      execFileSync('nsenter', [
        `--net=${this.namespace.path}`,
        'ip',
        'addr',
        'add',
        `${address}/32`,
        'dev',
        'lo',
      ]);
    }
    const lines = resolvers.map((address) => `nameserver ${address}\n`);
    writeFileSync(join(this.#directory, 'resolv.conf'), `search example.com\n${lines.join('')}`);
  }

  /** Starts a proxy for the pod `ns1/client`, whose workload is known unless `unknown`. */
  static async start(options: PodNetworkOptions = {}): Promise<PodNetwork> {
    const network = new PodNetwork(options.resolvers ?? []);
    network.#options = options;
    if (options.withoutIpv6 === true) {
      const enter = `--net=${network.namespace.path}`;
      execFileSync('nsenter', [enter, 'sysctl', '-qw', 'net.ipv6.conf.lo.disable_ipv6=1']);
    }
    network.state.apply([
      ...(options.mesh ?? []),
      ...(options.unknown === true ? [] : [pod('ns1/client', ['10.0.0.1'])]),
    ]);
    network.proxy = network.#proxy();
    network.proxy.addPod('client', clientPod, network.namespace);
    await network.proxy.ready();
    return network;
  }

  /** Starts a second proxy of the same pod beside the first. */
  async successor(): Promise<DnsProxy> {
    const proxy = this.#proxy();
    proxy.addPod('client', clientPod, this.namespace);
    await proxy.ready();
    return proxy;
  }

  #proxy(): DnsProxy {
    return new DnsProxy({
      mesh: this.state,
      settings: {
        clusterDomain: 'cluster.local',
        preferredNamespace: undefined,
        ipv6: true,
        mark: undefined,
        portReuse: true,
        address: { host: 'localhost', port: 15_053 },
        resolvConf: join(this.#directory, 'resolv.conf'),
        ownSearch: false,
        ...this.#options.settings,
      },
      logger: this.#logger(),
      logsQueries: () => true,
      ...this.#options.proxy,
    });
  }

  /** Starts a resolver that answers by `handle`, on UDP and, with `tcp`, on TCP. */
  resolver(
    address: string,
    handle: (query: Buffer, reply: (answer: Uint8Array) => void) => void,
    tcp?: (query: Buffer, socket: Socket) => void,
  ): void {
    const socket = createSocket('udp4');
    socket.bind({ fd: openUdpSocket({ namespace: this.namespace, address, port: 53 }) });
    socket.on('message', (query, { port, address: from }) =>
      handle(query, (answer) => socket.send(answer, port, from)),
    );
    this.#stops.push(() => socket.close());
    if (tcp === undefined) return;
    const open = new Set<Socket>();
    const server = createServer((client) => {
      open.add(client);
      client.on('error', () => undefined);
      client.on('data', (chunk: Buffer) => tcp(chunk.subarray(2), client));
    });
    server.listen({ fd: openListener({ namespace: this.namespace, address, port: 53 }) });
    this.#stops.push(() => {
      server.close();
      for (const client of open) client.destroy();
    });
  }

  /** Sends raw bytes over UDP and returns the answer. */
  async send(message: Uint8Array, milliseconds = 8_000): Promise<Buffer> {
    const socket = this.client();
    try {
      socket.send(message, 15_053, '127.0.0.1');
      const signal = AbortSignal.timeout(milliseconds);
      const [answer] = (await once(socket, 'message', { signal })) as [Buffer];
      return answer;
    } finally {
      socket.close();
    }
  }

  /** Queries a name over UDP. */
  async query(
    name: string,
    type: 'A' | 'AAAA' | 'NS' | 'TXT' = 'A',
    fields: Partial<Packet> = {},
  ): Promise<DecodedPacket> {
    return dnsPacket.decode(await this.send(queryOf(name, type, fields)));
  }

  /**
   * Queries a name over TCP.
   *
   * @param options.halfClose ends the client's side after the query, and reads until the proxy ends its own
   */
  async queryTcp(name: string, { halfClose = false } = {}): Promise<DecodedPacket> {
    const fd = await connectSocket({ namespace: this.namespace, address: '127.0.0.1', port: 15_053 });
    const socket = new Socket({ fd, readable: true, writable: true });
    socket.write(dnsPacket.streamEncode(dnsPacket.decode(queryOf(name, 'A'))));
    if (halfClose) socket.end();
    let held = Buffer.alloc(0);
    for await (const chunk of socket) {
      held = Buffer.concat([held, chunk as Buffer]);
      if (!halfClose && held.length >= 2 && held.length >= held.readUInt16BE(0) + 2) break;
    }
    socket.destroy();
    return dnsPacket.streamDecode(held) as DecodedPacket;
  }

  /** A UDP socket of the pod. */
  client(): UdpSocket {
    const socket = createSocket('udp4');
    socket.bind({ fd: openUdpSocket({ namespace: this.namespace, address: '127.0.0.1', port: 0 }) });
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy.close();
    for (const stop of this.#stops) stop();
    this.namespace.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #logger(): Logger {
    const note = (into: string[]) => (message: string, fields?: unknown) =>
      void into.push(`${message} ${JSON.stringify(fields ?? {})}`);
    const logger = {
      ...{ trace: () => undefined, info: () => undefined, debug: note(this.debug) },
      ...{ warn: note(this.warnings), error: note(this.warnings) },
      child: () => logger,
    };
    return logger as unknown as Logger;
  }
}

export const clientPod = { name: 'client', namespace: 'ns1', serviceAccount: 'default' };

/** A query encoded by another implementation. */
export function queryOf(
  name: string,
  type: 'A' | 'AAAA' | 'NS' | 'TXT',
  fields: Partial<Packet> = {},
): Buffer {
  return dnsPacket.encode({
    ...{ type: 'query', id: 4_711, flags: dnsPacket.RECURSION_DESIRED, questions: [{ name, type }] },
    ...fields,
  });
}

/** The answer of a resolver that answers every question with `address`. */
export function answerOf(query: Buffer, address: string, fields: Partial<Packet> = {}): Buffer {
  const { id = 0, questions = [] } = dnsPacket.decode(query);
  const [question] = questions;
  return dnsPacket.encode({
    ...{ type: 'response', id, questions },
    flags: dnsPacket.AUTHORITATIVE_ANSWER | dnsPacket.RECURSION_DESIRED,
    answers: question === undefined ? [] : [{ type: 'A', name: question.name, ttl: 60, data: address }],
    ...fields,
  });
}

/** Addresses of an answer. */
export function addressesOf(packet: Packet): string[] {
  return (packet.answers ?? []).flatMap((answer) =>
    (answer.type === 'A' || answer.type === 'AAAA') && 'data' in answer ? [answer.data] : [],
  );
}

/** The response code of an answer, such as `NOERROR`. */
export function codeOf(packet: Packet): string {
  return (packet as { rcode?: string }).rcode ?? '';
}
