/**
 * Returns the page at `/`: what needs attention, this node's pods, services, live connections, and why a connection
 * would or would not be allowed. It loads no external resources, so it works without a network; it reads
 * `/kmesh/overview` every two seconds.
 */
export function adminPage(): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kmesh</title>
<link rel="icon" href="data:,">
<style>${pageStyle}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
  <div class="title">
    <h1>Kmesh <span id="node"></span></h1>
    <button id="pause" type="button" aria-pressed="false">Pause</button>
  </div>
  <p id="state" role="status" aria-live="polite">Loading…</p>
</header>
<main id="main" tabindex="-1">
  <section aria-labelledby="h-attention" id="attention" hidden>
    <h2 id="h-attention">Needs attention</h2><ul id="problems"></ul></section>
  <dl id="figures" aria-label="Figures"></dl>
  <section aria-labelledby="h-why"><h2 id="h-why">Why?</h2>
    <form id="why">
      <label>From <input name="source" list="sources" placeholder="namespace/pod or IP" required autocomplete="off" spellcheck="false"></label>
      <label>To <input name="destination" list="destinations" placeholder="namespace/service:port, host name or IP" required autocomplete="off" spellcheck="false"></label>
      <button>Explain</button>
      <datalist id="sources"></datalist><datalist id="destinations"></datalist>
    </form>
    <div id="answer" role="status" aria-live="polite"></div></section>
  <section aria-labelledby="h-connections">
    <div class="head"><h2 id="h-connections">Live connections</h2>
    <label>Filter <input id="filter" type="search" placeholder="part of a name" autocomplete="off"></label></div>
    <div class="scroll" id="connections"></div></section>
  <section aria-labelledby="h-services"><h2 id="h-services">Services</h2><div class="scroll" id="services"></div></section>
  <section aria-labelledby="h-split"><h2 id="h-split">Routes</h2><div class="scroll" id="split"></div></section>
  <section aria-labelledby="h-pods"><h2 id="h-pods">Pods on this node</h2><div class="scroll" id="pods"></div></section>
  <section aria-labelledby="h-paths"><h2 id="h-paths">Decisions in the kernel</h2><div class="scroll" id="paths"></div></section>
  <section aria-labelledby="h-capabilities"><h2 id="h-capabilities">Capabilities</h2><div class="scroll" id="capabilities"></div></section>
  <section aria-labelledby="h-routes"><h2 id="h-routes">Routes of this port</h2>
    <ul class="routes">
      <li><a href="/config_dump">/config_dump</a> the whole state and configuration</li>
      <li><a href="/kmesh/overview">/kmesh/overview</a> the data of this page</li>
      <li><a href="/kmesh/connections">/kmesh/connections</a> live connections</li>
      <li><a href="/kmesh/tables">/kmesh/tables</a> contents of the kernel tables; ?address=IP for one address</li>
      <li>/kmesh/why?source=…&amp;destination=… each step of a decision</li>
      <li>POST /logging shows the log level; ?level=… changes it, ?reset restores it</li>
      <li><a href="/debug/pprof/profile?seconds=10">/debug/pprof/profile</a> CPU profile over ten seconds</li>
      <li><a href="/debug/pprof/heap">/debug/pprof/heap</a> heap profile; POST /debug/pprof/heap/profiling?activate=true starts it</li>
      <li>POST /quitquitquit drains and stops the daemon</li>
    </ul></section>
</main>
<script>${pageScript}</script>
</body>
</html>
`;
}

/** Style sheet of the admin page: wide and narrow windows, light and dark, visible focus. */
const pageStyle = `
:root { color-scheme: light dark; --line: #8883; --muted: #5b6270; --good: #176b3a; --bad: #a32020; --accent: #0b5cad; --raised: #8881; --tunnel: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --muted: #a3a9b8; --good: #6fd08f; --bad: #ff8f8f; --accent: #7db8f5; --tunnel: #e5b567; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.2rem 3rem; max-width: 80rem; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h1 span { font-weight: 400; color: var(--muted); font-size: 1.05rem; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
header p { margin: .2rem 0 0; } .title, .head { display: flex; flex-wrap: wrap; gap: .3rem 1rem; justify-content: space-between; align-items: baseline; }
a { color: var(--accent); } :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; } main:focus { outline: none; }
.skip { position: absolute; left: -999px; } .skip:focus { left: 1rem; top: .3rem; background: Canvas; padding: .2rem .5rem; }
#attention { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem .9rem; margin-top: 1rem; } #attention h2 { margin-top: 0; }
#attention ul { margin: 0; padding-left: 1.1rem; }
#figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0 0; }
#figures div { background: var(--raised); border-radius: .4rem; padding: .5rem .7rem; }
#figures dt { color: var(--muted); font-size: .85rem; } #figures dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; } form label { flex: 1 1 16rem; display: grid; gap: .15rem; color: var(--muted); }
input, button { font: inherit; padding: .3rem .5rem; border: 1px solid var(--line); border-radius: .3rem; background: Field; color: FieldText; min-width: 0; }
button { background: var(--raised); color: inherit; cursor: pointer; padding: .3rem .9rem; }
.verdict { margin: .7rem 0 .3rem; font-weight: 600; } .steps { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
.steps dt { color: var(--muted); } .steps dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
td.wrap { white-space: normal; min-width: 14rem; } th { font-weight: 600; color: var(--muted); font-size: .85rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .empty, .note { color: var(--muted); margin: .3rem 0; } .tunnel { color: var(--tunnel); }
.routes { margin: 0; padding-left: 1.1rem; color: var(--muted); } .head h2 { margin-bottom: .2rem; }
@media (max-width: 44rem) {
  body { padding: .7rem .8rem 2rem; }
  #figures { grid-template-columns: repeat(2, 1fr); gap: .4rem; } #figures dd { font-size: 1.1rem; }
  .scroll { overflow: visible; } table, tbody, tr, td { display: block; width: 100%; } thead { display: none; }
  tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
  td, td.number { border: 0; padding: .05rem 0; white-space: normal; overflow-wrap: anywhere; text-align: left; display: grid; grid-template-columns: 7.5rem 1fr; gap: .5rem; }
  td::before { content: attr(data-label); color: var(--muted); font-weight: 400; } td.wrap { min-width: 0; } td:empty { display: none; }
  .steps { grid-template-columns: 1fr; gap: 0; } .steps dd { margin-bottom: .35rem; } form label { flex-basis: 100%; }
}
`;

/**
 * Script of the admin page. Text from the mesh goes through textContent only: a pod's name is never markup. Parts
 * whose data has not changed are not redrawn, so that a selection or the focus stays.
 */
const pageScript = `
'use strict';
const $ = (id) => document.getElementById(id);
const make = (tag, text, className) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (className) e.className = className; return e; };
const bytes = (n) => { const u = ['B', 'KiB', 'MiB', 'GiB', 'TiB']; let i = 0; while (n >= 1024 && i < 4) { n /= 1024; i++; } return (i ? n.toFixed(1) : Math.round(n)) + ' ' + u[i]; };
const rate = (n) => n < 1 ? '' : bytes(n) + '/s';
const age = (s) => { s = Math.floor(s); const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60; return d ? d + 'd ' + h + 'h' : h ? h + 'h ' + m + 'm' : m ? m + 'm ' + s % 60 + 's' : s + 's'; };
const many = (n, one, more) => n + ' ' + (n === 1 ? one : more ?? one + 's');
const shown = new Map();
function unchanged(target, data) { const text = JSON.stringify(data); if (shown.get(target) === text) return true; shown.set(target, text); return false; }
function table(target, columns, rows, empty, note) {
  const cells = rows.map((row) => columns.map(([, cell]) => { const value = cell(row); return typeof value === 'object' ? value : { text: String(value) }; }));
  if (unchanged(target, [cells, empty, note])) return;
  const root = $(target);
  if (rows.length === 0) { root.replaceChildren(make('p', empty, 'empty')); root.removeAttribute('tabindex'); return; }
  const t = document.createElement('table'), head = t.createTHead().insertRow();
  for (const [name, , kind] of columns) { const th = make('th', name, kind); th.scope = 'col'; head.append(th); }
  const body = t.createTBody();
  for (const row of cells) { const tr = body.insertRow(); row.forEach((value, i) => { const td = tr.insertCell(); if (value.text !== '') { td.textContent = value.text; } td.dataset.label = columns[i][0]; td.className = [columns[i][2], value.tone].filter(Boolean).join(' '); }); }
  root.replaceChildren(t, ...(note ? [make('p', note, 'note')] : []));
  if (root.scrollWidth > root.clientWidth) root.tabIndex = 0; else root.removeAttribute('tabindex');
}
function problemsOf(o) {
  const found = [];
  const c = o.controlPlane;
  if (c.address && !c.connected) found.push('The control plane ' + c.address + ' is unreachable: ' + c.detail.replace(/[.]*$/, '.') + (c.setting ? ' Check ' + c.setting + '.' : '') + (c.nextTryAt ? ' Next try at ' + new Date(c.nextTryAt).toLocaleTimeString() + '.' : '') + (o.workloadCount ? ' Traffic continues with the last known state.' : ''));
  if (c.routesRefused) found.push('The control plane refuses to send routes: connections are not split by weights.');
  if (o.pending.length) found.push('Not ready yet, pending: ' + o.pending.join(', ') + '.');
  for (const k of o.capabilities) if (!k.available && k.name === 'kernel path') found.push('The kernel path is off; every connection takes the tunnel: ' + k.reason);
  for (const p of o.pods) if (p.state !== 'Up') found.push('Pod ' + p.namespace + '/' + p.name + ' is not served yet.');
  for (const s of o.services) if (s.endpoints && !s.healthyEndpoints) found.push('Service ' + s.namespace + '/' + s.name + ' has no healthy endpoint.');
  return found;
}
let last;
function render(o) {
  last = o;
  $('node').textContent = (o.node ? 'on ' + o.node + ' · ' : '') + o.version + ' · up ' + age((Date.now() - Date.parse(o.startedAt)) / 1000);
  document.title = 'Kmesh' + (o.node ? ' on ' + o.node : '');
  const ready = o.pending.length === 0, c = o.controlPlane;
  $('state').className = ready && (c.connected || !c.address) ? 'good' : 'bad';
  const text = (ready ? 'Ready' : 'Not ready') + ' · ' + (c.connected ? 'control plane connected (' + c.address + ')' : c.address ? 'control plane not connected' : c.detail);
  if ($('state').textContent !== text) $('state').textContent = text;
  const problems = problemsOf(o);
  if (!unchanged('problems', problems)) { $('attention').hidden = problems.length === 0; $('problems').replaceChildren(...problems.slice(0, 12).map((p) => make('li', p))); }
  const sum = (key) => o.connections.reduce((all, one) => all + one[key], 0);
  const figures = [['Pods here', o.pods.length], ['Open connections', o.connectionCount], ['Sending', rate(sum('sentBytesPerSecond')) || '0'], ['Receiving', rate(sum('receivedBytesPerSecond')) || '0'], ['Services', o.serviceCount], ['Workloads', o.workloadCount], ['Policies', o.policyCount]];
  if (!unchanged('figures', figures)) $('figures').replaceChildren(...figures.map(([name, value]) => { const d = make('div'); d.append(make('dt', name), make('dd', String(value))); return d; }));
  const filter = $('filter').value.trim().toLowerCase(), has = (...texts) => texts.some((t) => t.toLowerCase().includes(filter));
  const connections = o.connections.filter((k) => has(k.source, k.destination, k.service, k.sourceAddress, k.destinationAddress));
  table('connections', [['Source', (k) => k.source], ['Destination', (k) => k.destination], ['Service', (k) => k.service], ['Path', (k) => ({ text: k.path, tone: k.path === 'tunnel' ? 'tunnel' : '' })], ['TLS', (k) => k.encrypted ? 'mutual' : 'no'], ['Age', (k) => age(k.seconds), 'number'], ['Sent', (k) => bytes(k.sentBytes), 'number'], ['Received', (k) => bytes(k.receivedBytes), 'number'], ['Sending', (k) => rate(k.sentBytesPerSecond), 'number'], ['Receiving', (k) => rate(k.receivedBytesPerSecond), 'number']], connections, filter ? 'No connection or service matches the filter.' : 'No open connection.', o.connectionCount > o.connections.length ? 'The ' + o.connections.length + ' busiest of ' + o.connectionCount + '.' : '');
  $('h-connections').textContent = 'Live connections (' + o.connectionCount + ')';
  const services = o.services.filter((s) => has(s.namespace + '/' + s.name, ...s.addresses));
  table('services', [['Service', (s) => s.namespace + '/' + s.name], ['Addresses', (s) => s.addresses.join(', ')], ['Healthy endpoints', (s) => ({ text: s.healthyEndpoints + ' of ' + s.endpoints, tone: s.endpoints && !s.healthyEndpoints ? 'bad' : '' }), 'number'], ['Opened', (s) => s.opened, 'number'], ['Failed', (s) => ({ text: String(s.failed), tone: s.failed ? 'bad' : '' }), 'number']], services.slice(0, 100), filter ? 'No service matches the filter.' : 'The mesh has no service yet.', services.length > 100 || o.serviceCount > o.services.length ? 'Those with traffic from here first; ' + many(o.serviceCount, 'service') + ' in the mesh.' : '');
  const shares = o.routes.flatMap((r) => [...r.shares.map((s) => ({ route: r.route, ...s })), ...r.problems.map((problem) => ({ route: r.route, service: '', backend: '', share: 0, problem }))]).filter((s) => has(s.route, s.service, s.backend));
  table('split', [['Route', (s) => s.route], ['Service', (s) => s.service], ['Backend', (s) => s.backend], ['Share', (s) => s.backend ? Math.round(s.share * 1000) / 10 + ' %' : '', 'number'], ['', (s) => ({ text: s.backend && s.problem ? 'refused: ' + s.problem : s.problem ? 'not applied: ' + s.problem : 'by connection', tone: s.problem ? 'bad' : '' }), 'wrap']], shares.slice(0, 200), filter ? 'No route matches the filter.' : 'No route.', '');
  table('pods', [['Pod', (p) => p.namespace + '/' + p.name], ['State', (p) => ({ text: p.state, tone: p.state === 'Up' ? 'good' : 'bad' })], ['Addresses', (p) => p.addresses.join(', ') || 'not known to the mesh yet'], ['Connections', (p) => p.connections, 'number']], o.pods, 'No pod of this node is in the mesh.');
  table('paths', [['Path', (p) => ({ text: p.path, tone: p.path === 'tunnel' ? 'tunnel' : p.path === 'refused' ? 'bad' : '' })], ['Reason', (p) => p.reason], ['Connections', (p) => p.connections, 'number']], o.paths, 'The kernel has not decided a connection yet.');
  const off = o.capabilities.filter((k) => !k.available);
  table('capabilities', [['Capability', (k) => k.name], ['Why it is off', (k) => k.reason, 'wrap']], off, 'All ' + o.capabilities.length + ' are available.', many(o.capabilities.length - off.length, 'other is available.', 'others are available.'));
  const options = (id, names) => { if (!unchanged(id, names)) $(id).replaceChildren(...names.map((n) => { const e = make('option'); e.value = n; return e; })); };
  options('sources', o.pods.map((p) => p.namespace + '/' + p.name));
  options('destinations', o.services.slice(0, 200).map((s) => s.namespace + '/' + s.name));
}
let paused = false, failures = 0;
async function refresh() {
  try {
    const r = await fetch('/kmesh/overview', { signal: AbortSignal.timeout(5000) });
    if (!r.ok) throw new Error('status ' + r.status);
    const o = await r.json();
    failures = 0;
    if (!paused) render(o);
  } catch (e) { failures++; $('state').className = 'bad'; $('state').textContent = 'The daemon does not answer (' + e.message + '); trying again.'; }
  setTimeout(refresh, Math.min(2000 * (1 + failures), 15000));
}
$('filter').addEventListener('input', () => last && render(last));
$('pause').addEventListener('click', () => { paused = !paused; $('pause').setAttribute('aria-pressed', String(paused)); $('pause').textContent = paused ? 'Resume' : 'Pause'; });
$('why').addEventListener('submit', async (event) => {
  event.preventDefault();
  const data = new FormData(event.target), answer = $('answer');
  try {
    const r = await fetch('/kmesh/why?' + new URLSearchParams({ source: data.get('source').trim(), destination: data.get('destination').trim() }));
    const text = await r.text();
    if (!r.ok) { answer.replaceChildren(make('p', text.trim(), 'bad')); return; }
    const why = JSON.parse(text), list = make('dl', undefined, 'steps');
    let before = '';
    for (const s of why.steps) { list.append(make('dt', s.step === before ? '' : s.step), make('dd', s.text)); before = s.step; }
    answer.replaceChildren(make('p', why.verdict + (why.path === 'none' ? '' : ', path ' + why.path), 'verdict ' + (why.verdict === 'allowed' ? 'good' : 'bad')), list);
  } catch (e) { answer.replaceChildren(make('p', 'The daemon does not answer: ' + e.message, 'bad')); }
});
refresh();
`;
