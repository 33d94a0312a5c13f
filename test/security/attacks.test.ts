import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { echo } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

const ALLOWED = 8080;
const DENIED = 9090;
/** A connection that stays open until a test denies it. */
const CHANGING = 9091;
/** The application echoes what it gets. */
const ECHO = 9092;

/** No mark, the kernel path's, and the proxy's. */
const marks = ['', 'mark=0x4b4d', 'mark=0x539'];

const native = new URL('native/', import.meta.url);
const evade = () => buildNative('evade', native);
const principals = (...names: string[]) => ({
  principals: names.map(
    (name) => ({ kind: 'Exact', value: `cluster.local/ns/default/sa/sa-${name}` }) as const,
  ),
});

const nameOf = (step: string): string => step.split('=')[0] ?? step;

/** Omits empty steps. */
const steps = (...all: string[]) => all.filter((step) => step !== '');

/**
 * Sequences that try to use a socket with an allowed connect for another port, with marks set between any two calls.
 */
function sequences(allowed: string, wanted: string): string[][] {
  const found: string[][] = [
    // The first packet to the allowed port is on its way at the connect to the other port.
    ['nonblock', `connect=${allowed}`, `connect=${wanted}`, 'send'],
    ['nonblock', `connect=${allowed}`, 'dissolve', `connect=${wanted}`, 'send'],
    ['defer', `connect=${allowed}`, `connect=${wanted}`, 'send'],
    ['defer', `connect=${allowed}`, `fastopen=${wanted}`],
    ['defer', `connect=${allowed}`, 'dissolve', `fastopen=${wanted}`],
    [`fastopen=${allowed}`, 'dissolve', `fastopen=${wanted}`],
  ];
  for (const first of marks) {
    found.push(steps(first, `connect=${wanted}`));
    found.push(steps(first, `fastopen=${wanted}`));
    for (const second of marks) {
      found.push(steps('defer', first, `connect=${wanted}`, second, 'send'));
      found.push(steps(first, `connect=${allowed}`, 'dissolve', second, `connect=${wanted}`, 'send'));
      for (const third of marks) {
        const again = ['dissolve', second, `connect=${wanted}`, third, 'send'];
        found.push(steps('defer', `connect=${allowed}`, first, ...again));
        found.push(steps('defer', first, `connect=${allowed}`, ...again));
      }
    }
  }
  return found;
}

for (const kernelPath of [true, false]) {
  describe(`attempts to bypass a denial, with the kernel path ${kernelPath ? 'on' : 'off'}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let attacker: Pod;
    let neighbour: Pod;
    let victim: Pod;
    let server: Pod;

    before(async () => {
      lab = await createLab();
      await lab.node();
      mesh = await startMesh(lab, { kernelPath });
      ({ pod: attacker } = await mesh.pod({ name: 'attacker' }));
      ({ pod: victim } = await mesh.pod({ name: 'victim', captured: { variant: 'nftables' } }));
      ({ pod: neighbour } = await mesh.pod({ name: 'neighbour', captured: false }));
      ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }));
      for (const port of [ALLOWED, DENIED, CHANGING]) await server.serve({ port, name: `port-${port}` });
      await server.serve({ port: ECHO, mode: 'double', name: 'echo' });
      await untilEnrolled(mesh, [attacker, victim, server]);
      const denial = policy(
        'Deny',
        { ...principals('attacker'), destinationPorts: [DENIED] },
        { name: 'denied' },
      );
      await mesh.apply(strict, denial);
      await untilTablesFollow(mesh);
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    /** Results of the lists of steps, in order. */
    async function play(from: Pod, lists: readonly (readonly string[])[]): Promise<string[]> {
      const parameters = lists.flatMap((list) => [...list, '--']).slice(0, -1);
      const { stdout } = await from.run(evade(), parameters);
      const answers: string[] = [];
      for (const line of stdout.trim().split('\n')) {
        const colon = line.indexOf(':');
        answers[Number(line.slice(0, colon))] = line.slice(colon + 1).trim();
      }
      return answers;
    }

    /** Connections that an application of the server has accepted. */
    async function accepted(port: number): Promise<number> {
      return (await server.counts()).find((count) => count.port === port)?.connections ?? 0;
    }

    const patient = (list: readonly string[]) => ['patience=3000', ...list];
    const at = (port: number) => `${server.addresses.v4}:${port}`;
    const at6 = (port: number) => `[${server.addresses.v6}]:${port}`;
    const mapped = (port: number) => `[::ffff:${server.addresses.v4}]:${port}`;

    for (const { kind, to, what } of [
      { kind: '4', to: at, what: 'IPv4' },
      { kind: '6', to: at6, what: 'IPv6' },
      { kind: '6', to: mapped, what: 'IPv4 by a socket of IPv6' },
      { kind: 'mptcp4', to: at, what: 'MPTCP over IPv4' },
      { kind: 'mptcp6', to: at6, what: 'MPTCP over IPv6' },
    ]) {
      test(`a socket with one allowed connect reaches no other port by ${what}: deferred and dissolved connects, marks between any two calls`, async (context) => {
        const of = (lists: string[][]) => lists.map((list) => [`kind=${kind}`, ...list]);
        const lists = of(sequences(to(ALLOWED), to(DENIED)));
        context.diagnostic(`${lists.length} sequences`);
        const answers = await play(attacker, lists);
        assert.equal(answers.length, lists.length);
        assert.deepEqual(
          lists.filter((_, index) => answers[index]?.includes(`port-${DENIED}`)),
          [],
        );
        assert.equal(await accepted(DENIED), 0);
        // The same calls succeed with a port that is allowed, so they are valid.
        const plain = of(sequences(to(ALLOWED), to(ALLOWED))).filter(
          (list) => !list.some((step) => /mark/.test(step)),
        );
        // A deferred socket of MPTCP cannot send by MSG_FASTOPEN before it is connected, mesh or not.
        if (kind.startsWith('mptcp'))
          plain.splice(
            plain.findIndex((list) => /^kind,defer,connect,fastopen$/.test(list.map(nameOf).join())),
            1,
          );
        const served = await play(attacker, plain.map(patient));
        assert.deepEqual(
          plain.filter((_, index) => !served[index]?.includes(`port-${ALLOWED}`)),
          [],
        );
      });
    }

    test('a socket with IP options is served by a port that is allowed, and by no other', async () => {
      const [allowed, denied] = await play(attacker, [
        patient(['options', `connect=${at(ALLOWED)}`, 'send']),
        ['options', `connect=${at(DENIED)}`, 'send'],
      ]);
      assert.match(allowed ?? '', new RegExp(`port-${ALLOWED}`));
      assert.equal(denied, '');
    });

    test('a socket that was accepted and dissolved dials like a new one', async () => {
      const lists = marks.map((mark, index) =>
        steps(`accept=${7000 + index}`, 'dissolve', mark, `connect=${at(DENIED)}`, 'send'),
      );
      const playing = play(attacker, lists.map(patient));
      for (const index of marks.keys()) {
        await mesh.node().proxy.until('a socket listens', async () => {
          try {
            const socket = await victim.connect({ host: attacker.addresses.v4, port: 7000 + index });
            return (
              (await ending(
                socket.on('error', () => undefined),
                3_000,
              )) !== 'open'
            );
          } catch (error) {
            // It may be reset immediately after it is accepted.
            return (error as NodeJS.ErrnoException).code === 'ECONNRESET';
          }
        });
      }
      assert.deepEqual(
        (await playing).filter((answer) => answer.includes('port-')),
        [],
      );
      assert.equal(await accepted(DENIED), 0);
    });

    // With the sysctl off, which is the default, an accepted socket has no mark.
    if (kernelPath)
      test('an accepted socket that gets the mark of its peer does not get the proxy’s', async () => {
        await attacker.run('sysctl', ['-w', 'net.ipv4.tcp_fwmark_accept=1']);
        const child = attacker.spawn(evade(), ['patience=3000', 'accept=7010', 'dissolve', 'send']);
        let text = '';
        child.stderr?.on('data', (data) => {
          text += data;
        });
        const ended = once(child, 'close');
        const watch = await mesh.node().proxy.watch();
        // A connection whose application set a mark takes the tunnel path: the proxy of the pod dials the application.
        const dial = ['mark=0x70000', `connect=${attacker.addresses.v4}:7010`, 'send'];
        await mesh.node().proxy.until('it is accepted', async () => {
          if (text === '') await play(victim, [dial]);
          return text !== '';
        });
        await ended;
        const { fields } = await watch.line('inbound', { 'dst.workload': attacker.name });
        assert.equal(fields['path'], 'tunnel');
        assert.equal(text.trim(), 'mark 0');
        await attacker.run('sysctl', ['-w', 'net.ipv4.tcp_fwmark_accept=0']);
      });

    test('the address of another pod is no identity: not to an enrolled pod, nor to one on the node’s bridge', async () => {
      const only = policy('Allow', { ...principals('victim') }, { name: 'only-victim' });
      await mesh.apply(only);
      await untilTablesFollow(mesh);
      const before = await accepted(ALLOWED);
      for (const from of [attacker, neighbour]) {
        const { v4, v6 } = victim.addresses;
        const lists = marks.flatMap((mark) => [
          steps(mark, `bind=${v4}`, `connect=${at(ALLOWED)}`, 'send'),
          steps(`bind=${v4}`, 'defer', `connect=${at(ALLOWED)}`, mark, 'send'),
          steps('kind=6', mark, `bind=[${v6}]`, `connect=${at6(ALLOWED)}`, 'send'),
          steps('kind=6', `bind=[${v6}]`, 'defer', `connect=${at6(ALLOWED)}`, mark, 'send'),
          steps('kind=mptcp4', mark, `bind=${v4}`, `connect=${at(ALLOWED)}`, 'send'),
        ]);
        assert.deepEqual(
          (await play(from, lists)).filter((answer) => answer !== ''),
          [],
          from.name,
        );
      }
      assert.equal(await accepted(ALLOWED), before);
      const [answer] = await play(victim, [patient([`connect=${at(ALLOWED)}`])]);
      assert.match(answer ?? '', new RegExp(`port-${ALLOWED}`), 'the victim itself is served');
      await mesh.apply(without(only));
      await untilTablesFollow(mesh);
    });

    for (const [what, hold, list] of [
      ['between connect and its first packet', false, ['defer', 'connect', 'wait', 'send']],
      ['while the first packet is lost', true, ['wait', 'connect', 'send']],
    ] as const) {
      test(`a policy that changes ${what} is enforced`, async () => {
        assert.match(
          (await play(attacker, [patient([`connect=${at(CHANGING)}`])]))[0] ?? '',
          /port-/,
          'allowed before',
        );
        const before = await accepted(CHANGING);
        if (hold) await server.run('nft', ['-f', '-'], { input: LOSE_FIRST });
        const child = attacker.spawn(
          evade(),
          patient(list).map((step) => (step === 'connect' ? `connect=${at(CHANGING)}` : step)),
        );
        let text = '';
        child.stdout?.on('data', (data) => {
          text += data;
        });
        assert.ok(child.stderr);
        await once(child.stderr, 'data');
        const ended = once(child, 'close');
        const denial = policy(
          'Deny',
          { ...principals('attacker'), destinationPorts: [CHANGING] },
          { name: 'late' },
        );
        if (hold) {
          child.stdin?.end('\n');
          // On the tunnel path the proxy's packet is lost.
          await mesh.node().proxy.until('the packet is lost', async () => {
            const { stdout } = await server.run('nft', ['list', 'counter', 'inet', 'lose', 'lost']);
            return !/packets 0/.test(stdout);
          });
          await mesh.apply(denial);
          await server.run('nft', ['delete', 'table', 'inet', 'lose']);
        } else {
          await mesh.apply(denial);
          child.stdin?.end('\n');
        }
        await ended;
        assert.doesNotMatch(text, /port-/);
        assert.equal(await accepted(CHANGING), before);
        await mesh.apply(without(denial));
        await untilTablesFollow(mesh);
      });
    }

    test('a pod that redirects two others’ traffic by ARP sees at most first packets, or encrypted bytes', async () => {
      const program = buildNative('bridge', native);
      const places = [neighbour, victim, server].map(({ addresses }) => addresses.v4);
      await echo(victim, server.addresses.v4, ECHO);
      const child = neighbour.spawn(program, [...places, 'hello world']);
      let text = '';
      child.stdout?.on('data', (data) => {
        text += data;
      });
      const ended = once(child, 'close');
      const [{ address }] = JSON.parse((await neighbour.run('ip', ['-json', 'link', 'show', 'eth0'])).stdout);
      await mesh
        .node()
        .proxy.until('the victim believes it', async () =>
          (await victim.run('ip', ['neigh', 'show', server.addresses.v4])).stdout.includes(address),
        );
      for (let round = 0; round < 20; round++) await echo(victim, server.addresses.v4, ECHO);
      child.stdin?.end();
      await ended;
      for (const pod of [victim, server]) await pod.run('ip', ['neigh', 'flush', 'all']);
      const [first = 0, others = 0, texts = 0] = text.trim().split(' ').map(Number);
      assert.ok(first + others > 0, `it saw something: ${text}`);
      assert.equal(texts, 0);
      if (kernelPath) assert.deepEqual([first > 0, others], [true, 0]);
    });

    test('an identity of another trust domain and a pod with an application tunnel take the tunnel path', async () => {
      const { pod: foreign } = await mesh.pod({
        name: 'foreign',
        workload: { trustDomain: 'elsewhere.example' },
      });
      const { pod: tunnelled } = await mesh.pod({
        name: 'tunnelled',
        workload: { applicationTunnel: { protocol: 'PROXY', port: 9000 } },
      });
      await tunnelled.serve({ port: 9000, name: 'tunnel' });
      await untilEnrolled(mesh, [foreign, tunnelled], { attested: false });
      const before = await accepted(ALLOWED);
      assert.deepEqual(await play(foreign, [[`connect=${at(ALLOWED)}`, 'send']]), ['']);
      assert.equal(await accepted(ALLOWED), before);
      const watch = await mesh.node().proxy.watch();
      await play(victim, [patient([`connect=${tunnelled.addresses.v4}:${ALLOWED}`, 'send'])]);
      const line = await watch.line('inbound', { 'dst.workload': tunnelled.name });
      assert.equal(line.fields['path'], 'tunnel');
    });
  });
}

/** Drops first packets to the port before any other rule, from every sender. */
const LOSE_FIRST = `table inet lose {
  counter lost {
  }
  chain prerouting {
    type filter hook prerouting priority -400
    tcp dport { ${CHANGING}, 15008 } tcp flags & (syn | ack) == syn counter name lost drop
  }
}
`;
