import fc from 'fast-check';
import { expect, test } from 'vitest';

import { MessageScanner, Traffic } from './neon-scan.ts';

function message(type: string, body: string | Buffer = ''): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(4 + Buffer.byteLength(body), 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

test('messages are found however they are cut', () => {
  const piece = fc.record({ type: fc.constantFrom('Q', 'S', 'D', 'Z'), body: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(piece), fc.array(fc.nat(60)), (pieces, cuts) => {
      const bytes = Buffer.concat(pieces.map(({ type, body }) => message(type, Buffer.from(body))));
      const found: [string, number][] = [];
      const scanner = new MessageScanner((type, first) => found.push([String.fromCharCode(type), first]));
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        scanner.scan(bytes.subarray(at, at + cut));
        at += cut;
      }
      expect(found).toEqual(pieces.map(({ type, body }) => [type, body[0] ?? 0]));
      expect(scanner.isAtBoundary).toBe(true);
    }),
  );
});

test('in the middle of a message there is no place for another one', () => {
  const scanner = new MessageScanner(() => {});
  const bytes = message('D', 'abc');
  for (let length = 1; length < bytes.length; length += 1) {
    scanner.scan(bytes.subarray(length - 1, length));
    expect(scanner.isAtBoundary).toBe(false);
  }
  scanner.scan(bytes.subarray(-1));
  expect(scanner.isAtBoundary).toBe(true);
});

const idle = message('Z', 'I');

test('a session is quiet when all that was asked is answered outside of a transaction', () => {
  const traffic = new Traffic();
  expect(traffic.isQuiet).toBe(true);
  traffic.fromClient.scan(Buffer.concat([message('Q', 'begin\0'), message('Q', 'select\0')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(message('Z', 'T'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromServer.scan(message('Z', 'T'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, false]);
  traffic.fromClient.scan(Buffer.concat([message('P', '\0commit\0\0\0'), message('H')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(message('S'));
  traffic.fromServer.scan(idle);
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('COPY in a group reads over the Sync that was sent with it', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('P'), message('B'), message('E'), message('S')]));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c'), message('S')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(idle);
  expect(traffic.isQuiet).toBe(true);
});

test('COPY in a query has no Sync', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(message('Q', 'copy t from stdin\0'));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(idle);
  expect(traffic.isQuiet).toBe(true);
});

test('COPY in a query is not taken for the answer of a Sync that went before it', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('S'), message('Q', 'copy t from stdin\0')]));
  traffic.fromServer.scan(Buffer.concat([idle, message('G', '\0\0\0')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('S'), message('c')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromServer.scan(Buffer.concat([message('C', 'COPY 1\0'), idle]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('COPY in a group is under way until its second Sync is answered', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('P'), message('B'), message('E'), message('S')]));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(message('S'));
  traffic.fromServer.scan(Buffer.concat([message('C', 'COPY 1\0'), idle]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

const states = ({ isQuiet, isBusy }: Traffic): readonly boolean[] => [isQuiet, isBusy];

test('COPY that fails is over for the client too: the Sync behind it is heeded', () => {
  for (const answer of ['S', 'cS', 'fS']) {
    const traffic = new Traffic();
    traffic.fromClient.scan(Buffer.concat([message('P'), message('B'), message('E'), message('S')]));
    traffic.fromServer.scan(message('G', '\0\0\0'));
    traffic.fromClient.scan(message('d', 'x'));
    traffic.fromServer.scan(message('E', 'S\0'));
    expect(states(traffic)).toEqual([false, true]);
    for (const type of answer) traffic.fromClient.scan(message(type));
    expect(states(traffic)).toEqual([false, true]);
    traffic.fromServer.scan(idle);
    expect(states(traffic)).toEqual([true, false]);
  }
});

test('COPY that is sent at once, its end as well, has no effect on what is sent behind it', () => {
  const traffic = new Traffic();
  for (const type of 'PBESdcS') traffic.fromClient.scan(message(type));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  for (const type of 'PBES') traffic.fromClient.scan(message(type));
  traffic.fromServer.scan(Buffer.concat([message('C', 'COPY 1\0'), idle]));
  expect(states(traffic)).toEqual([false, true]);
  traffic.fromServer.scan(Buffer.concat([message('C', 'SELECT 1\0'), idle]));
  expect(states(traffic)).toEqual([true, false]);
});

test('COPY that fails before its Syncs are read over hides nothing that runs behind them', () => {
  for (const sent of ['PBESdcSQ', 'PBESSQ', 'PBESdcSPBES']) {
    const traffic = new Traffic();
    for (const type of sent) traffic.fromClient.scan(message(type));
    traffic.fromServer.scan(Buffer.concat([message('G', '\0\0\0'), message('E', 'S\0'), idle, idle]));
    expect([sent, traffic.isBusy]).toEqual([sent, true]);
    traffic.fromServer.scan(idle);
    expect([sent, ...states(traffic)]).toEqual([sent, true, false]);
  }
  const traffic = new Traffic();
  traffic.fromClient.scan(message('Q'));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  for (const type of 'dSSQ') traffic.fromClient.scan(message(type));
  traffic.fromServer.scan(Buffer.concat([message('E', 'S\0'), idle, idle, idle]));
  expect(states(traffic)).toEqual([false, true]);
  traffic.fromServer.scan(idle);
  expect(states(traffic)).toEqual([true, false]);
});

/** What a client sends: its types, and of those that run something (or are data) how it goes. */
type Step = readonly [type: string, how?: 'good' | 'bad' | 'copy'];

type Mode = 'main' | 'skip' | 'copy in request' | 'copy in group';

/** As the server reads it. */
class Server {
  readonly #inbox: Step[] = [];
  #mode: Mode = 'main';

  get isOver(): boolean {
    return this.#inbox.length === 0;
  }

  /** It has still to run something. */
  get isAsked(): boolean {
    return this.#inbox.some(([type]) => type === 'Q' || type === 'E');
  }

  take(step: Step): void {
    this.#inbox.push(step);
  }

  /** Reads one message; answers with types of its own. */
  step(): string {
    const [type = '', how] = this.#inbox.shift() ?? [];
    switch (this.#mode) {
      case 'skip':
        return type === 'S' ? this.#turn('main', 'Z') : '';
      case 'copy in request':
        if (type === 'c') return this.#turn('main', 'CZ');
        return type === 'f' || how === 'bad' ? this.#turn('main', 'EZ') : '';
      case 'copy in group':
        if (type === 'c') return this.#turn('main', 'C');
        return type === 'f' || how === 'bad' ? this.#turn('skip', 'E') : '';
      case 'main':
        if (type === 'S') return 'Z';
        if (how === undefined || type === 'd') return '';
        if (type === 'Q') return how === 'copy' ? this.#turn('copy in request', 'G') : how === 'bad' ? 'EZ' : 'CZ';
        return how === 'copy' ? this.#turn('copy in group', 'G') : how === 'bad' ? this.#turn('skip', 'E') : 'C';
    }
  }

  #turn(mode: Mode, answer: string): string {
    this.#mode = mode;
    return answer;
  }
}

test('whatever is sent ahead of its answers, a session is busy as long as the server is, and not for ever', () => {
  const good = fc.constantFrom<Step[]>(
    [['Q', 'good']],
    [['Q', 'bad']],
    [['P'], ['E', 'good'], ['E', 'good'], ['S']],
    [['P'], ['E', 'bad'], ['E', 'good'], ['S']],
    [['Q', 'copy'], ['d', 'good'], ['c']],
    [['Q', 'copy'], ['d', 'good'], ['H'], ['S'], ['d', 'good'], ['c']],
    [['Q', 'copy'], ['d', 'bad'], ['d', 'good'], ['c']],
    [['Q', 'copy'], ['d', 'good'], ['f']],
    [['Q', 'bad'], ['d', 'good'], ['c']],
    [['P'], ['E', 'copy'], ['S'], ['d', 'good'], ['c'], ['S']],
    [['P'], ['E', 'copy'], ['H'], ['d', 'good'], ['c'], ['S']],
    [['P'], ['E', 'copy'], ['H'], ['d', 'bad'], ['c'], ['S']],
    [['P'], ['E', 'copy'], ['S'], ['d', 'good'], ['c'], ['E', 'copy'], ['H'], ['d', 'good'], ['c'], ['E', 'good'], ['S']],
    [['P'], ['E', 'bad'], ['S'], ['d', 'good'], ['c'], ['S']],
  );
  /** The Sync of its Execute is ambiguous, so what follows is asked when all is answered. */
  const alone = fc.constantFrom<Step[]>(
    [['P'], ['E', 'copy'], ['S'], ['d', 'bad'], ['c'], ['S']],
    [['P'], ['E', 'copy'], ['S'], ['d', 'good'], ['f'], ['S']],
  );
  const unit = fc.oneof(
    fc.record({ steps: good, isAlone: fc.constant(false) }),
    fc.record({ steps: alone, isAlone: fc.constant(true) }),
  );
  fc.assert(
    fc.property(fc.array(unit), fc.array(fc.nat(6), { minLength: 1 }), (units, turns) => {
      const traffic = new Traffic();
      const server = new Server();
      const read = (): void => {
        for (const type of server.step()) traffic.fromServer.scan(type === 'Z' ? idle : message(type, 'x'));
        if (server.isAsked) expect(traffic.isBusy).toBe(true);
      };
      const readAll = (): void => {
        while (!server.isOver) read();
      };
      let turn = 0;
      for (const { steps, isAlone } of units) {
        for (const step of steps) {
          traffic.fromClient.scan(message(step[0]));
          server.take(step);
          for (let left = turns[turn % turns.length] ?? 0; left > 3 && !server.isOver; left -= 1) read();
          turn += 1;
        }
        if (isAlone) readAll();
      }
      readAll();
      expect([traffic.isQuiet, traffic.isBusy, traffic.isAsked]).toEqual([true, false, false]);
    }),
    { numRuns: 500 },
  );
});

test('of many requests at a time none is forgotten', () => {
  const traffic = new Traffic();
  const many = 10_000;
  traffic.fromClient.scan(Buffer.concat(Array.from({ length: many }, (_, index) => message(index % 2 === 0 ? 'S' : 'Q'))));
  for (let answered = 0; answered < many; answered += 1) {
    expect(traffic.isBusy).toBe(true);
    traffic.fromServer.scan(idle);
  }
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

/** imm-126: within COPY the server reads on over them, and never halts the client. */
test('Syncs within COPY cost nothing, however many they are', () => {
  const traffic = new Traffic();
  const syncs = Buffer.concat(Array.from({ length: 10_000 }, () => message('S')));
  traffic.fromClient.scan(message('Q'));
  traffic.fromServer.scan(message('G'));
  const before = process.memoryUsage().heapUsed;
  for (let sent = 0; sent < 1_000; sent += 1) traffic.fromClient.scan(syncs);
  traffic.fromClient.scan(message('Q'));
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(40_000_000);
  expect(traffic.isBusy).toBe(true);
});

test('a client that says goodbye has ended the session itself', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(message('X'));
  expect(traffic.hasSaidGoodbye).toBe(true);
});
