import assert from 'node:assert/strict';
import { test } from 'node:test';
import { junit } from '../report/junit.ts';

test('a JUnit file has an element per case, with the message of each failure', () => {
  const text = junit('cluster', [
    { name: 'IST-01: "quoted" & <odd>', seconds: 1.5, failure: undefined },
    { name: 'second', seconds: 0.25, failure: 'a \u001b[31mred\u001b[0m <line>' },
    { name: 'third', seconds: 1, failure: undefined, measured: '3 of 40 & 2 s' },
  ]);
  assert.match(text, /<testsuite name="cluster" tests="3" failures="1" time="2.750">/);
  assert.match(text, /name="IST-01: &quot;quoted&quot; &amp; &lt;odd&gt;" time="1.500"\/>/);
  assert.match(text, /<failure>a \[31mred\[0m &lt;line&gt;<\/failure>/);
  assert.match(
    text,
    /name="third" time="1.000">\n {4}<system-out>3 of 40 &amp; 2 s<\/system-out>\n {2}<\/testcase>/,
  );
});
