#!/usr/bin/env node
import { run } from '../../kmesh/bin/run.js';

await run(new URL('../src/main.ts', import.meta.url), 'kmeshctl');
