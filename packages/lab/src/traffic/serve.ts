import type { ChildProcess } from 'node:child_process';
import { KmeshError } from '@kmesh/api';
import { LineConversation } from './lines.ts';

/**
 * What a server does with a connection: `banner` server-first, sends its name and closes; `http` answers every
 * request with JSON (`endpoint`, `remote`, `local`, `method`, `path`); `echo`; `double` sends everything back twice;
 * `halfclose` reads to the peer's end, then sends its name and the byte count; `discard`; `silent` never reads.
 */
type ServeMode = 'banner' | 'http' | 'echo' | 'double' | 'halfclose' | 'discard' | 'silent';

export interface ServeOptions {
  readonly port: number;
  readonly mode?: ServeMode;
  /** A UDP server answers each datagram with its name, a space and the datagram. */
  readonly protocol?: 'tcp' | 'udp';
  /** Name in its answers; the host's name by default. */
  readonly name?: string;
  /** Address to bind; every address of both families by default. */
  readonly address?: string;
}

/** An open server. */
export interface Serving {
  readonly port: number;
  /** Stops accepting connections; open ones continue. */
  close(): Promise<void>;
}

export interface ListenerCount {
  readonly name: string;
  readonly port: number;
  readonly connections: number;
  readonly bytes: number;
}

/** The `serve` program of one host. */
export class ServerProcess {
  readonly #conversation: LineConversation;

  constructor(child: ChildProcess) {
    this.#conversation = new LineConversation(child, 'the lab server');
  }

  /** Opens a server. @throws KMESH_LAB_LISTEN when the port is unavailable. */
  async listen(options: ServeOptions & { readonly name: string }): Promise<Serving> {
    const { port, protocol = 'tcp', mode = 'banner', name, address = '::' } = options;
    const answer = await this.#conversation.ask(`listen ${protocol} ${port} ${mode} ${name} ${address}`);
    const { error } = answer as { error?: string };
    if (error !== undefined) {
      throw new KmeshError(
        'KMESH_LAB_LISTEN',
        `${name} cannot listen on ${protocol} ${address} port ${port}: ${error}`,
      );
    }
    return {
      port,
      close: async () => {
        await this.#conversation.ask(`close ${port}`);
      },
    };
  }

  async counts(): Promise<ListenerCount[]> {
    const answer = await this.#conversation.ask('count');
    return (answer as { listeners: ListenerCount[] }).listeners;
  }
}
