/**
 * Behaviour of the admin page. Text from the mesh goes through textContent only: a pod's name is never markup. Parts
 * whose data has not changed are left as they are, so that a selection or the focus stays.
 */
export const pageScript = `
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
  if (c.address && !c.connected) found.push('The control plane ' + c.address + ' is not reached: ' + c.detail.replace(/[.]*$/, '.') + (c.setting ? ' Look at ' + c.setting + '.' : '') + (c.nextTryAt ? ' Next try at ' + new Date(c.nextTryAt).toLocaleTimeString() + '.' : '') + (o.workloadCount ? ' Traffic goes on with what was known.' : ''));
  if (c.routesRefused) found.push('The control plane refuses to send routes: connections are not split by weights.');
  if (o.pending.length) found.push('Not ready yet, pending: ' + o.pending.join(', ') + '.');
  for (const k of o.capabilities) if (!k.available && k.name === 'kernel path') found.push('The kernel path is off, every connection takes the tunnel: ' + k.reason);
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
  table('paths', [['Path', (p) => ({ text: p.path, tone: p.path === 'tunnel' ? 'tunnel' : p.path === 'refused' ? 'bad' : '' })], ['Reason', (p) => p.reason], ['Connections', (p) => p.connections, 'number']], o.paths, 'No connection was decided in the kernel yet.');
  const off = o.capabilities.filter((k) => !k.available);
  table('capabilities', [['Capability', (k) => k.name], ['Why it is off', (k) => k.reason, 'wrap']], off, 'All ' + o.capabilities.length + ' are there.', many(o.capabilities.length - off.length, 'other is there.', 'others are there.'));
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
$('pause').addEventListener('click', () => { paused = !paused; $('pause').setAttribute('aria-pressed', String(paused)); $('pause').textContent = paused ? 'Go on' : 'Pause'; });
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
