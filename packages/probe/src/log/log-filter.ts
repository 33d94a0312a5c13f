import { KmeshError, type LogLevel } from '@kmesh/api';

const levels = ['off', 'error', 'warn', 'info', 'debug', 'trace'] as const;
type FilterLevel = (typeof levels)[number];

const sharedBytes = 8192;
const headerBytes = 8;

/** Returns the rank of a level: a higher rank includes more lines; `off` is 0. */
function levelRank(level: FilterLevel): number {
  return levels.indexOf(level);
}

/**
 * Decides which log lines are written: a default level and levels per scope, changeable at runtime. Threads share one
 * filter through {@link shared}; each applies a change from its next line on.
 *
 * The text form is that of `RUST_LOG` and of `POST /logging` (ambient contract 13.1): `info,access=debug`. The form
 * `access:debug`, which istioctl sends, is equivalent.
 */
export class LogFilter {
  /** Pass this to {@link LogFilter.attach} in another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #header: Int32Array;
  readonly #text: Uint8Array;
  readonly #start: string;
  #version = -1;
  #directives = new Map<string, number>();
  #ranks = new Map<string, number>();

  /** @throws KmeshError `KMESH_LOG_FILTER` when `text` is not a filter */
  constructor(text = 'info', shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(sharedBytes);
    this.#header = new Int32Array(this.shared, 0, headerBytes / 4);
    this.#text = new Uint8Array(this.shared, headerBytes);
    if (shared === undefined) this.#publish(parseLogFilter(text));
    this.#refresh();
    this.#start = this.toString();
  }

  /** Opens the same filter in another thread. */
  static attach(shared: SharedArrayBuffer): LogFilter {
    return new LogFilter('info', shared);
  }

  /** Returns whether a line of this scope and level is written; takes a few nanoseconds. */
  enabled(scope: string, level: LogLevel): boolean {
    if (Atomics.load(this.#header, 0) !== this.#version) this.#refresh();
    let rank = this.#ranks.get(scope);
    if (rank === undefined) {
      rank = this.#rankOf(scope);
      this.#ranks.set(scope, rank);
    }
    return levelRank(level) <= rank;
  }

  /**
   * Adds directives; a new directive replaces the scope's old one.
   *
   * @throws KmeshError `KMESH_LOG_FILTER`, without any change
   */
  add(text: string): void {
    const added = parseLogFilter(text);
    this.#refresh();
    this.#publish(new Map([...this.#directives, ...added]));
  }

  /** Restores the initial filter. */
  reset(): void {
    this.#publish(parseLogFilter(this.#start));
  }

  /** Returns the current filter, such as `info,access=debug`. */
  toString(): string {
    this.#refresh();
    return directivesText(this.#directives);
  }

  #rankOf(scope: string): number {
    let best = '';
    let rank = this.#directives.get('') ?? levelRank('error');
    for (const [prefix, candidate] of this.#directives) {
      if (prefix.length > best.length && scope.startsWith(prefix)) {
        best = prefix;
        rank = candidate;
      }
    }
    return rank;
  }

  #publish(directives: Map<string, number>): void {
    const bytes = new TextEncoder().encode(directivesText(directives));
    if (bytes.length > this.#text.length) {
      throw invalid(`the filter would be ${bytes.length} bytes long; the limit is ${this.#text.length}`);
    }
    this.#text.set(bytes);
    Atomics.store(this.#header, 1, bytes.length);
    Atomics.add(this.#header, 0, 1);
  }

  #refresh(): void {
    const version = Atomics.load(this.#header, 0);
    if (version === this.#version) return;
    const length = Atomics.load(this.#header, 1);
    const text = new TextDecoder().decode(this.#text.slice(0, length));
    // Another thread may be writing: an inconsistent read keeps the old filter until the next line.
    try {
      this.#directives = parseLogFilter(text);
    } catch {
      return;
    }
    this.#ranks = new Map();
    this.#version = version;
  }
}

/**
 * Parses a filter to ranks by scope; the default level has the empty scope.
 *
 * @throws KmeshError `KMESH_LOG_FILTER` naming the invalid part
 */
export function parseLogFilter(text: string): Map<string, number> {
  const directives = new Map<string, number>();
  for (const part of text.split(',')) {
    const directive = part.trim();
    const match = /^(?:([A-Za-z_][\w.:-]*?)[=:])?(off|error|warn|info|debug|trace)$/i.exec(directive);
    if (match === null) {
      throw invalid(
        `"${directive}" is neither a level (${levels.join(', ')}) nor scope=level; ` +
          'example: info,access=debug',
      );
    }
    const scope = (match[1] ?? '').replace(/^(?:ztunnel|kmesh)::/, '');
    directives.set(scope, levels.indexOf((match[2] ?? 'info').toLowerCase() as FilterLevel));
  }
  return directives;
}

function directivesText(directives: ReadonlyMap<string, number>): string {
  return [...directives]
    .map(([scope, rank]) => (scope === '' ? `${levels[rank]}` : `${scope}=${levels[rank]}`))
    .join(',');
}

function invalid(reason: string): KmeshError {
  return new KmeshError('KMESH_LOG_FILTER', `Cannot use the log filter: ${reason}.`);
}
