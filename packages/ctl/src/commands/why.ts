import type { Why } from '@kmesh/api';
import { type OutputFormat, renderObject } from '../output.ts';

/** Address of the admin view that explains a connection. */
export function whyPath(source: string, destination: string): string {
  return `/kmesh/why?${new URLSearchParams({ source, destination })}`;
}

/** Text of `kmeshctl why`: the verdict, then each step of the decision. */
export function why(answer: Why, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, answer);
  const { source, destination, verdict, path, steps } = answer;
  const width = Math.max(...steps.map(({ step }) => step.length));
  return [
    `${source} → ${destination}: ${verdict}${path === 'none' ? '' : `, path ${path}`}`,
    ...steps.map(({ step, text }, index) => {
      const label = steps[index - 1]?.step === step ? '' : step;
      return `  ${label.padEnd(width)}  ${text}`;
    }),
    '',
  ].join('\n');
}
