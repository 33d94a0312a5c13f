import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { routeRecord } from '@kmesh/api/testing';
import { serviceOf } from '@kmesh/lab';
import { type Browser, type Page, startBrowser } from '@kmesh/lab/testing/daemon/browser.ts';
import { type SmallMesh, startSmallMesh } from '@kmesh/lab/testing/daemon/small-mesh.ts';

/** Screenshots of the last run, for inspection. */
const pictures = fileURLToPath(new URL('../../build/test/pages/', import.meta.url));

let mesh: SmallMesh;
let browser: Browser;
let page: Page;
let socket: Socket;

before(async () => {
  const service = serviceOf({ name: '<b>bold</b>', vips: ['10.96.9.9'], ports: { 80: 80 } });
  const route = routeRecord({ hosts: [service.hostname] }, [
    { hostname: 'web.shop.svc.cluster.local', weight: 3 },
    { hostname: 'nowhere.example', weight: 1 },
  ]);
  mesh = await startSmallMesh({
    mesh: () => [
      { kind: 'service', service },
      { kind: 'route', route },
    ],
  });
  socket = await mesh.client.connect({ host: mesh.serviceIp, port: 80 });
  socket.resume();
  socket.write('hello');
  browser = await startBrowser(mesh.node);
  page = await browser.open('http://127.0.0.1:15000/');
  await page.resize(1280, 900);
  await page.until(`document.querySelector('#connections td')`);
});
after(async () => {
  socket?.destroy();
  await browser?.[Symbol.asyncDispose]();
  await mesh?.[Symbol.asyncDispose]();
});

async function picture(name: string): Promise<void> {
  mkdirSync(pictures, { recursive: true });
  writeFileSync(`${pictures}${name}.png`, await page.screenshot());
}

const textOf = (selector: string): Promise<string> =>
  page.evaluate(`document.querySelector(${JSON.stringify(selector)}).innerText`);

test('the page shows pods, services, live connections and the state of the control plane', async () => {
  assert.match(await textOf('#state'), /^Ready · control plane connected/);
  assert.match(await textOf('#node'), /on node1/);
  assert.match(await textOf('#connections'), /shop\/client\s+shop\/web-[12]\s+shop\/web\s+kernel/);
  assert.match(await textOf('#services'), /shop\/web\s+10\.96\.0\.1/);
  assert.match(await textOf('#pods'), /shop\/web-2\s+Up\s+10\.1\.0\.4/);
  assert.equal(await page.evaluate(`document.getElementById('attention').hidden`), true);
  await picture('wide');
});

test('a name from the mesh is text, never markup', async () => {
  assert.match(await textOf('#services'), /default\/<b>bold<\/b>/);
  assert.equal(await page.evaluate(`document.querySelector('#services b')`), null);
});

test('routes are shown with their configured shares, and with refusals', async () => {
  const routes = await textOf('#split');
  assert.match(routes, /default\/split\s.*web\.shop\.svc\.cluster\.local\s+75 %\s+by connection/);
  assert.match(routes, /default\/split\s.*nowhere\.example\s+25 %\s+refused: it is not known/);
});

test('the question can be reached, sent and its steps read by keyboard alone', async () => {
  await page.press('Tab');
  assert.equal(await page.evaluate('document.activeElement.className'), 'skip');
  for (let presses = 0; presses < 5; presses++) {
    if ((await page.evaluate('document.activeElement.name')) === 'source') break;
    await page.press('Tab');
  }
  await page.type('shop/client');
  await page.press('Tab');
  await page.type('shop/web:80');
  await page.press('Enter');
  await page.until(`document.querySelector('#answer .verdict')`);
  assert.match(await textOf('#answer'), /allowed, path kernel[\s\S]*balanced in the connect call/);
  await picture('why');
});

test('the error for an invalid question says what is allowed', async () => {
  await page.evaluate(`document.querySelector('[name=source]').value = 'nobody'`);
  await page.evaluate(`document.querySelector('#why').requestSubmit()`);
  await page.until(`document.querySelector('#answer .bad')`);
  assert.match(await textOf('#answer'), /neither namespace\/name of a pod nor an IP/);
});

test('the filter applies to connections and services, and an empty result says so', async () => {
  const filter = (text: string) =>
    page.evaluate(
      `(() => { const f = document.getElementById('filter'); f.value = '${text}'; f.dispatchEvent(new Event('input')); })()`,
    );
  await filter('web');
  assert.doesNotMatch(await textOf('#services'), /bold/);
  await filter('nothing like it');
  assert.match(await textOf('#services'), /No service matches/);
  await filter('');
});

test('a narrow window has no horizontal scrolling, and every cell has a label', async () => {
  await page.resize(360, 740);
  await page.until('innerWidth === 360');
  assert.equal(await page.evaluate('document.documentElement.scrollWidth <= 360'), true);
  const label = await page.evaluate(
    `getComputedStyle(document.querySelector('#connections td'), '::before').content`,
  );
  assert.match(String(label), /Source/);
  await picture('narrow');
  await page.resize(1280, 900);
});

test('the page reports an unreachable control plane, and an unreachable daemon', async () => {
  await mesh.istiod.faults.refuse(true);
  await page.until(`!document.getElementById('attention').hidden`, 20_000);
  // At first only the end of the stream is known; the setting to check is known after the next attempt.
  await page.until(`document.getElementById('problems').innerText.includes('Check XDS_ADDRESS')`, 20_000);
  assert.match(await textOf('#problems'), /control plane .* is unreachable: .*Check XDS_ADDRESS/);
  assert.match(await textOf('#problems'), /Traffic continues/);
  await picture('attention');
  mesh.daemon.kill('SIGKILL');
  await page.until(`document.getElementById('state').innerText.includes('does not answer')`);
});

test('the page sends requests only to this daemon, and has no error while it runs', () => {
  assert.ok(page.requests.length > 0);
  for (const url of page.requests) assert.match(url, /^(http:\/\/127\.0\.0\.1:15000\/|data:,)/);
  const serious = page.errors.filter((error) => !/ERR_CONNECTION|status of 400/.test(error));
  assert.deepEqual(serious, []);
});
