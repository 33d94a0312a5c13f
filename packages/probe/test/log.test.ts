import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LogFormat } from '../src/log/line-format.ts';
import { LogFilter, parseLogFilter } from '../src/log/log-filter.ts';
import { directLogWriter, overflowLines, queueLines, startLogThread } from '../src/log/log-writer.ts';
import { createLogger } from '../src/log/logger.ts';

const accepted: [string, string][] = [
  ['debug', 'debug'],
  ['access=debug,info', 'access=debug,info'],
  ['access:debug', 'access=debug'],
  ['ztunnel::access=TRACE', 'access=trace'],
  ['off', 'off'],
  ['hickory::server=off', 'hickory::server=off'],
];
for (const [text, meaning] of accepted) {
  test(`OBS-03: the log filter accepts ${text}`, () => {
    assert.equal(new LogFilter(text).toString(), meaning);
  });
}

for (const text of ['foo', '', 'access=', 'access=loud', '=info', 'info,,debug', 'a[b]=info']) {
  test(`OBS-03: the log filter refuses "${text}" and names what is allowed`, () => {
    assert.throws(() => parseLogFilter(text), { code: 'KMESH_LOG_FILTER', message: /scope=level/ });
  });
}

test('OBS-03: a level is added, replaces that of its scope, and reset restores the first filter', () => {
  const filter = new LogFilter('info');
  filter.add('access=debug');
  assert.equal(filter.toString(), 'info,access=debug');
  filter.add('access=warn,error');
  assert.equal(filter.toString(), 'error,access=warn');
  assert.throws(() => filter.add('access=warn,foo'));
  assert.equal(filter.toString(), 'error,access=warn');
  filter.reset();
  assert.equal(filter.toString(), 'info');
});

test('the longest matching scope decides, and every view of the filter sees a change', () => {
  const filter = new LogFilter('warn,xds=info,xds::delta=trace');
  const elsewhere = LogFilter.attach(filter.shared);
  assert.equal(elsewhere.enabled('ca', 'info'), false);
  assert.equal(elsewhere.enabled('xds', 'info'), true);
  assert.equal(elsewhere.enabled('xds', 'debug'), false);
  assert.equal(elsewhere.enabled('xds::delta::wire', 'trace'), true);
  filter.add('ca=debug');
  assert.equal(elsewhere.enabled('ca', 'debug'), true);
  filter.add('off');
  assert.equal(elsewhere.enabled('other', 'error'), false);
});

function logger(format: LogFormat, level = 'trace') {
  const lines: string[] = [];
  const writer = { ...directLogWriter(), write: (line: string) => lines.push(line) };
  return { lines, log: createLogger({ scope: 'xds', filter: new LogFilter(level), writer, format }) };
}

test('plain lines have time, level, scope, message and fields separated by tabs', () => {
  const { lines, log } = logger('plain');
  log.info('connected', { peer: '10.0.0.1:15012', node: 'n 1', tries: 2, ok: true, none: undefined });
  log.child('ca').warn('slow', { error: 'no\nanswer' });
  log.error('two\nlines');
  assert.match(
    lines[0] ?? '',
    /^[\d-]{10}T[\d:]{8}\.\d{6}Z\tinfo\txds\tconnected\tpeer=10\.0\.0\.1:15012 node="n 1" tries=2 ok=true\n$/,
  );
  assert.match(lines[1] ?? '', /\twarn\tca\tslow\terror="no\\nanswer"\n$/);
  assert.match(lines[2] ?? '', /\terror\txds\ttwo\\nlines\n$/);
});

test('JSON lines have level, time, scope, message and the fields', () => {
  const { lines, log } = logger('json');
  log.debug('connected', { peer: '10.0.0.1:15012', none: undefined, count: 10 });
  const { time, ...rest } = JSON.parse(lines[0] ?? '');
  assert.match(time, /\.\d{6}Z$/);
  assert.deepEqual(rest, {
    level: 'debug',
    scope: 'xds',
    message: 'connected',
    peer: '10.0.0.1:15012',
    count: 10,
  });
});

test('a logger writes only the lines that the filter admits', () => {
  const { lines, log } = logger('plain', 'info,ca=off');
  log.debug('no');
  log.child('ca').error('no');
  log.info('yes');
  assert.equal(lines.length, 1);
  assert.equal(log.enabled('debug'), false);
});

/** A pipe: bytes written to the descriptor (blocking) are read from the socket. */
function openPipe(t: { after(close: () => void): void }): { reader: Socket; descriptor: number } {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-log-'));
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = new Socket({
    fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
    readable: true,
  });
  const descriptor = openSync(path, 'w');
  t.after(() => {
    reader.destroy();
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  });
  return { reader, descriptor };
}

test('OBS-19: a slow consumer slows the producer, without loss and without a deadlock', async (t) => {
  const { reader, descriptor } = openPipe(t);
  const { writer, dropped } = startLogThread(descriptor);
  const total = 25_000;
  let turns = 0;
  const ticking = setInterval(() => turns++, 1);
  let received = '';
  const slowReading = (async () => {
    let pieces = 0;
    for await (const piece of reader) {
      received += piece;
      if (received.endsWith(`line ${total - 1}\n`)) return;
      if (++pieces % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  let waits = 0;
  for (let line = 0; line < total; line++) {
    writer.write(`some filling text that makes lines as long as they are in life: line ${line}\n`);
    const room = writer.room();
    if (room) {
      waits++;
      await room;
    }
  }
  await slowReading;
  clearInterval(ticking);
  const lines = received.trimEnd().split('\n');
  assert.equal(lines.length, total);
  assert.ok(lines.every((line, index) => line.endsWith(`: line ${index}`)));
  assert.ok(waits > 0, 'the producer slowed down');
  assert.ok(turns > 0, 'the event loop continued');
  assert.equal(dropped[0], 0n);
});

test('with a consumer that never reads lines are dropped and counted, and no thread waits', async (t) => {
  const { reader, descriptor } = openPipe(t);
  reader.pause();
  const { writer, dropped } = startLogThread(descriptor);
  const line = `${'x'.repeat(99)}\n`;
  const written = queueLines + overflowLines + 5000;
  for (let index = 0; index < written; index++) {
    writer.write(line);
    if (index % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(Number(dropped[0]) >= 1000, `${dropped[0]}`);
  let received = 0;
  reader.on('data', (piece) => {
    received += piece.length;
  });
  reader.resume();
  while (received < (written - Number(dropped[0])) * line.length) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(received / line.length + Number(dropped[0]), written);
});

test('flushSync returns when all lines are written', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-log-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'log');
  const descriptor = openSync(path, 'a');
  const { writer } = startLogThread(descriptor);
  for (let index = 0; index < 500; index++) writer.write(`${index}\n`);
  writer.flushSync(5000);
  assert.equal(readFileSync(path, 'utf8').trimEnd().split('\n').length, 500);
  closeSync(descriptor);
});
