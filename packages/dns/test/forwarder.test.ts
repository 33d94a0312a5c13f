import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget, Forwarder, type ForwardOutcome } from '../src/forward/forwarder.ts';
import { parseQuery } from '../src/wire/query.ts';
import { queryOf } from './support/pod-network.ts';

test('a query that follows on a connection while its pod is removed is not forwarded', () => {
  const budget = new Budget(10);
  const forwarder = new Forwarder({
    ...{ namespace: undefined, mark: undefined, budget, port: 9 },
    servers: () => ['127.0.0.1'],
    onRejected: () => undefined,
  });
  const message = queryOf('dead.example', 'A');
  const parsed = parseQuery(message);
  assert.ok(parsed.kind === 'query');
  const outcomes: ForwardOutcome[] = [];
  const forward = (limit: number, then: () => void) => {
    const done = (_: unknown, outcome: ForwardOutcome) => {
      outcomes.push(outcome);
      then();
    };
    forwarder.forward({ message, query: parsed.query, limit, done });
  };
  forward(512, () => forward(1_232, () => undefined));
  assert.equal(forwarder.pending, 1);
  forwarder.close();
  assert.deepEqual(
    outcomes.map(({ reason }) => reason),
    ['closed', 'closed'],
  );
  assert.equal(forwarder.pending, 0);
  assert.equal(budget.used, 0);
});
