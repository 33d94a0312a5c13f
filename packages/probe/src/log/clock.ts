import { performance } from 'node:perf_hooks';

let offset = 0;
let secondOfText = -1;
let secondText = '';

/** Now, RFC 3339 with microseconds and `Z`, as log lines carry it. */
export function logTime(): string {
  const wall = Date.now() * 1000;
  let now = Math.floor(performance.now() * 1000) + offset;
  // The monotonic clock gives the microseconds; it is set again whenever the wall clock was moved.
  if (now - wall > 2000 || wall - now > 2000) {
    offset += wall - now;
    now = wall;
  }
  const second = Math.floor(now / 1_000_000);
  if (second !== secondOfText) {
    secondOfText = second;
    secondText = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return `${secondText}${String(now - second * 1_000_000).padStart(6, '0')}Z`;
}
