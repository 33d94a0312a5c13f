#!/usr/bin/env node
import { run } from './run.js';

await run(new URL('../src/main.ts', import.meta.url), 'kmesh');
