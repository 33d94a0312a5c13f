import assert from 'node:assert/strict';
import { test } from 'node:test';
import { junit } from '../report/junit.ts';

test('a JUnit file has a line per case, with what a failing one said', () => {
  const text = junit('cluster', [
    { name: 'IST-01: "quoted" & <odd>', seconds: 1.5, failure: undefined },
    { name: 'second', seconds: 0.25, failure: 'a \u001b[31mred\u001b[0m <line>' },
  ]);
  assert.match(text, /<testsuite name="cluster" tests="2" failures="1" time="1.750">/);
  assert.match(text, /name="IST-01: &quot;quoted&quot; &amp; &lt;odd&gt;" time="1.500"\/>/);
  assert.match(text, /<failure>a \[31mred\[0m &lt;line&gt;<\/failure>/);
});
