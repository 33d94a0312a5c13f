/**
 * Feeds random and mutated xDS payloads to the client's decoder for a number of iterations:
 *
 *     node scripts/fuzz-xds.ts [--iterations 10000000] [--seed 1]
 *
 * Prints progress with the memory in use; ends with an error at the first payload that breaks something.
 */
import { parseArgs } from 'node:util';
import { fuzzResources, fuzzResponses, randomFrom } from '../packages/controller/test/xds/support/fuzz.ts';

const { values } = parseArgs({
  options: { iterations: { type: 'string', default: '10000000' }, seed: { type: 'string', default: '1' } },
});
const iterations = Number(values.iterations);
const random = randomFrom(Number(values.seed));
const roundSize = 200_000;
/** Number of payloads per whole response, which has three resources. */
const payloadsPerResponse = 50;

for (let done = 0; done < iterations; ) {
  const count = Math.min(roundSize, iterations - done);
  const { accepted, rejected } = fuzzResources(count, random);
  await fuzzResponses(Math.ceil(count / payloadsPerResponse), random);
  done += count;
  const resident = Math.round(process.memoryUsage.rss() / 1024 / 1024);
  console.log(
    `${done} payloads; of the last ${count}: ${accepted} accepted, ${rejected} rejected; ${resident} MiB`,
  );
}
