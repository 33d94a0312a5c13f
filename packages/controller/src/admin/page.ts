import { pageScript } from './page-script.ts';
import { pageStyle } from './page-style.ts';

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
