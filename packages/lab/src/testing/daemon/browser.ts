import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Host } from '../../pods/host.ts';

/** A page in a real Chromium, driven over its debugging pipe. */
export interface Page {
  /** Evaluates an expression in the page; awaits a promise. */
  evaluate<Value = unknown>(expression: string): Promise<Value>;
  /** Waits until the expression is truthy. */
  until(expression: string, milliseconds?: number): Promise<void>;
  /** Presses `Tab` or `Enter`. */
  press(key: 'Tab' | 'Enter'): Promise<void>;
  type(text: string): Promise<void>;
  resize(width: number, height: number): Promise<void>;
  /** The whole page as PNG. */
  screenshot(): Promise<Buffer>;
  /** Errors on the page's console, including exceptions. */
  readonly errors: readonly string[];
  /** URLs that the page requested. */
  readonly requests: readonly string[];
}

export interface Browser extends AsyncDisposable {
  open(url: string): Promise<Page>;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly sessionId?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

/** Starts Chromium on a host of the lab, with a new profile. */
export async function startBrowser(host: Host): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'kmesh-browser-'));
  // Helper processes of the browser may still write for a moment.
  const removeProfile = (): void =>
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  process.once('exit', removeProfile);
  const child = host.spawn(
    'chromium',
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
      '--hide-scrollbars',
      `--user-data-dir=${profile}`,
      '--remote-debugging-pipe',
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: profile } },
  );
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const pipe = new DebuggingPipe(child);
  return {
    open: (url) => openPage(pipe, url),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      const killing = setTimeout(() => child.kill('SIGKILL'), 3_000);
      await ended;
      clearTimeout(killing);
      process.off('exit', removeProfile);
      removeProfile();
    },
  };
}

class DebuggingPipe {
  readonly #input: Writable;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  readonly #listeners = new Set<(message: Message) => void>();
  #lastId = 0;
  #rest = Buffer.alloc(0);

  constructor(child: ChildProcess) {
    this.#input = child.stdio[3] as Duplex;
    const output = child.stdio[4] as Readable;
    this.#input.on('error', () => undefined);
    output.on('data', (bytes: Buffer) => this.#read(bytes));
    child.once('exit', () => {
      for (const waiter of this.#waiting.values()) waiter.reject(new Error('the browser has ended'));
    });
  }

  send(
    method: string,
    params: Record<string, unknown> = {},
    sessionId?: string,
  ): Promise<Record<string, unknown>> {
    this.#lastId += 1;
    const waiter = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(this.#lastId, waiter);
    this.#input.write(`${JSON.stringify({ id: this.#lastId, method, params, sessionId })}\0`);
    return waiter.promise;
  }

  listen(listener: (message: Message) => void): void {
    this.#listeners.add(listener);
  }

  #read(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let end = this.#rest.indexOf(0); end >= 0; end = this.#rest.indexOf(0)) {
      const message = JSON.parse(this.#rest.subarray(0, end).toString()) as Message;
      this.#rest = this.#rest.subarray(end + 1);
      if (message.id === undefined) {
        for (const listener of this.#listeners) listener(message);
        continue;
      }
      const waiter = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error !== undefined) waiter?.reject(new Error(message.error.message));
      else waiter?.resolve(message.result ?? {});
    }
  }
}

async function openPage(pipe: DebuggingPipe, url: string): Promise<Page> {
  const { targetId } = await pipe.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await pipe.send('Target.attachToTarget', { targetId, flatten: true });
  const session = sessionId as string;
  const send = (method: string, params?: Record<string, unknown>) => pipe.send(method, params, session);
  const errors: string[] = [];
  const requests: string[] = [];
  pipe.listen((message) => {
    if (message.sessionId !== session) return;
    if (message.method === 'Runtime.exceptionThrown' || message.method === 'Log.entryAdded') {
      errors.push(JSON.stringify(message.params));
    }
    if (message.method === 'Network.requestWillBeSent') {
      const { request } = message.params as { request: { url: string } };
      requests.push(request.url);
    }
  });
  await Promise.all(['Page', 'Runtime', 'Log', 'Network'].map((domain) => send(`${domain}.enable`)));
  await send('Page.navigate', { url });
  const evaluate = async <Value>(expression: string): Promise<Value> => {
    const answer = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (answer['exceptionDetails'] !== undefined) throw new Error(JSON.stringify(answer['exceptionDetails']));
    return (answer['result'] as { value: Value }).value;
  };
  return {
    errors,
    requests,
    evaluate,
    until: async (expression, milliseconds = 15_000) => {
      const deadline = performance.now() + milliseconds;
      while (!(await evaluate(`Boolean(${expression})`))) {
        if (performance.now() > deadline) {
          throw new Error(
            `not in ${milliseconds} ms: ${expression}\n${await evaluate('document.body.innerText')}`,
          );
        }
        await delay(50);
      }
    },
    press: async (key) => {
      const text = key === 'Enter' ? { text: '\r' } : {};
      const code = { key, code: key, windowsVirtualKeyCode: key === 'Enter' ? 13 : 9 };
      await send('Input.dispatchKeyEvent', { type: 'keyDown', ...code, ...text });
      await send('Input.dispatchKeyEvent', { type: 'keyUp', ...code });
    },
    type: async (text) => {
      await send('Input.insertText', { text });
    },
    resize: async (width, height) => {
      await send('Emulation.setDeviceMetricsOverride', {
        width,
        height,
        deviceScaleFactor: 1,
        mobile: false,
      });
    },
    screenshot: async () => {
      const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
      return Buffer.from(data as string, 'base64');
    },
  };
}
