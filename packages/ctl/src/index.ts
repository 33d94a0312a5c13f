export { commandLine } from './command-line.ts';
