/**
 * The page for people at `/`: this node's pods, services, live connections, what is off and why. One file with no
 * outside resources, so it works with no network; it reads `/kmesh/overview` every two seconds.
 */
export function adminPage(): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kmesh</title>
<style>${style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
  <h1>Kmesh <span id="node"></span></h1>
  <p id="state" role="status" aria-live="polite">Loading…</p>
  <nav aria-label="Raw views">
    <a href="/config_dump">config dump</a>
    <a href="/kmesh/overview">overview JSON</a>
    <a href="/kmesh/tables">kernel tables</a>
    <span>POST /logging, POST /quitquitquit</span>
  </nav>
</header>
<main id="main" tabindex="-1">
  <section aria-labelledby="h-paths"><h2 id="h-paths">Paths</h2><div class="scroll" id="paths" tabindex="0"></div></section>
  <section aria-labelledby="h-off"><h2 id="h-off">Capabilities</h2><div class="scroll" id="capabilities" tabindex="0"></div></section>
  <section aria-labelledby="h-pods"><h2 id="h-pods">Pods on this node</h2><div class="scroll" id="pods" tabindex="0"></div></section>
  <section aria-labelledby="h-services"><h2 id="h-services">Services</h2>
    <label>Filter <input id="filter" type="search" placeholder="name or namespace" autocomplete="off"></label>
    <div class="scroll" id="services" tabindex="0"></div></section>
  <section aria-labelledby="h-connections"><h2 id="h-connections">Live connections</h2><div class="scroll" id="connections" tabindex="0"></div></section>
</main>
<script>${script}</script>
</body>
</html>
`;
}

const style = `
:root { color-scheme: light dark; --line: #8884; --muted: #667; --good: #176b3a; --bad: #a32020; --accent: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --muted: #99a; --good: #6fd08f; --bad: #ff8f8f; --accent: #7db8f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h1 span { font-weight: 400; color: var(--muted); }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
header p { margin: .3rem 0; } nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; color: var(--muted); }
a { color: var(--accent); } :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999px; } .skip:focus { left: 1rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
td.wrap { white-space: normal; min-width: 14rem; } th { font-weight: 600; color: var(--muted); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .empty { color: var(--muted); }
input { font: inherit; padding: .2rem .4rem; }
@media (max-width: 40rem) { body { padding: .7rem; font-size: 14px; } }
`;

// Text from the mesh goes through textContent only: a pod's name is never markup.
const script = `
const $ = (id) => document.getElementById(id);
const bytes = (n) => { const u = ['B', 'KiB', 'MiB', 'GiB', 'TiB']; let i = 0; while (n >= 1024 && i < 4) { n /= 1024; i++; } return (i ? n.toFixed(1) : Math.round(n)) + ' ' + u[i]; };
function table(target, columns, rows, empty) {
  const root = $(target);
  if (rows.length === 0) { const p = document.createElement('p'); p.className = 'empty'; p.textContent = empty; root.replaceChildren(p); return; }
  const t = document.createElement('table'), head = t.createTHead().insertRow();
  for (const c of columns) { const th = document.createElement('th'); th.scope = 'col'; th.textContent = c[0]; if (c[2]) th.className = c[2]; head.append(th); }
  const body = t.createTBody();
  for (const row of rows) { const tr = body.insertRow(); for (const c of columns) { const td = tr.insertCell(); const v = c[1](row); td.textContent = v.text ?? v; td.className = [c[2] ?? '', v.tone ?? ''].join(' ').trim(); } }
  root.replaceChildren(t);
}
let last;
function render(o) {
  last = o;
  $('node').textContent = (o.node ? 'on ' + o.node : '') + ' · ' + o.version;
  const state = $('state');
  const ready = o.pending.length === 0;
  state.className = ready ? 'good' : 'bad';
  const text = (ready ? 'Ready' : 'Not ready, pending: ' + o.pending.join(', ')) + ' · control plane ' + (o.controlPlane.connected ? 'connected' : 'not connected') + ' (' + o.controlPlane.detail + ')';
  if (state.textContent !== text) state.textContent = text;
  table('paths', [['Path', (p) => p.path], ['Reason', (p) => p.reason], ['Connections', (p) => String(p.connections), 'number']], o.paths, 'No connection yet.');
  table('capabilities', [['Capability', (c) => c.name], ['State', (c) => c.available ? { text: 'on', tone: 'good' } : { text: 'off', tone: 'bad' }], ['Why', (c) => c.reason || '', 'wrap']], [...o.capabilities].sort((a, b) => a.available - b.available), 'Nothing was probed.');
  table('pods', [['Namespace', (p) => p.namespace], ['Pod', (p) => p.name], ['State', (p) => ({ text: p.state, tone: p.state === 'Up' ? 'good' : 'bad' })], ['Addresses', (p) => p.addresses.join(', ')], ['Connections', (p) => String(p.connections), 'number']], o.pods, 'No pod of this node is in the mesh.');
  const filter = $('filter').value.toLowerCase();
  const services = o.services.filter((s) => (s.namespace + '/' + s.name).toLowerCase().includes(filter));
  table('services', [['Namespace', (s) => s.namespace], ['Service', (s) => s.name], ['Addresses', (s) => s.addresses.join(', ')], ['Healthy endpoints', (s) => ({ text: s.healthyEndpoints + '/' + s.endpoints, tone: s.healthyEndpoints ? '' : 'bad' }), 'number'], ['Opened', (s) => String(s.opened), 'number'], ['Failed', (s) => ({ text: String(s.failed), tone: s.failed ? 'bad' : '' }), 'number']], services.slice(0, 200), filter ? 'No service matches the filter.' : 'The mesh has no service yet.');
  table('connections', [['Source', (c) => c.source], ['Destination', (c) => c.destination], ['Service', (c) => c.service], ['Path', (c) => c.path], ['Age', (c) => Math.round(c.seconds) + ' s', 'number'], ['Sent', (c) => bytes(c.sentBytes) + ' (' + bytes(c.sentBytesPerSecond) + '/s)', 'number'], ['Received', (c) => bytes(c.receivedBytes) + ' (' + bytes(c.receivedBytesPerSecond) + '/s)', 'number']], o.connections, 'No open connection.');
  $('h-connections').textContent = 'Live connections (' + o.connectionCount + ')';
}
async function refresh() {
  try { const r = await fetch('/kmesh/overview', { signal: AbortSignal.timeout(5000) }); if (!r.ok) throw new Error('HTTP ' + r.status); render(await r.json()); }
  catch (e) { $('state').className = 'bad'; $('state').textContent = 'The daemon does not answer (' + e.message + '); trying again.'; }
  setTimeout(refresh, 2000);
}
$('filter').addEventListener('input', () => last && render(last));
refresh();
`;
