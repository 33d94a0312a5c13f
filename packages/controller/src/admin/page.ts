import { pageScript } from './page-script.ts';

/**
 * The page for people at `/`: what needs attention, this node's pods, services, live connections, and why a connection
 * would or would not be allowed. One file with no outside resources, so it works with no network; it reads
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
      <li><a href="/config_dump">/config_dump</a> everything that is known</li>
      <li><a href="/kmesh/overview">/kmesh/overview</a> what this page shows</li>
      <li><a href="/kmesh/connections">/kmesh/connections</a> live connections</li>
      <li><a href="/kmesh/tables">/kmesh/tables</a> what is in the kernel; ?address=IP for one address</li>
      <li>/kmesh/why?source=…&amp;destination=… each step of a decision</li>
      <li>POST /logging show the log level; ?level=… changes it, ?reset goes back</li>
      <li><a href="/debug/pprof/profile?seconds=10">/debug/pprof/profile</a> processor profile of ten seconds</li>
      <li><a href="/debug/pprof/heap">/debug/pprof/heap</a> memory profile; POST /debug/pprof/heap/profiling?activate=true begins it</li>
      <li>POST /quitquitquit drain and end</li>
    </ul></section>
</main>
<script>${pageScript}</script>
</body>
</html>
`;
}

/** Style of the admin page: wide and narrow windows, light and dark, visible focus. */
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
