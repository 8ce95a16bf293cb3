/** What a stream does with what the grammar never lets through, and when it is stopped. */
import { eventually } from '@postern/testkit/eventually';
import { tmpdir } from 'node:os';
import pg from 'pg';
import { describe, expect } from 'vitest';

import type { Catalog } from '../src/domain/ports.ts';
import { AnswerScript } from '../src/stores/answer-script.fs.ts';
import { Output } from '../src/domain/output.ts';
import type { Script } from '../src/domain/script.ts';
import { jsonRows } from '../src/domain/script.ts';
import type { Connection } from '../src/stores/connection.pg.ts';
import { openConnection } from '../src/stores/connection.pg.ts';
import { createDescribeRows } from '../src/stores/row-shapes.pg.ts';
import { createSpoolSpace } from '../src/stores/spool.fs.ts';
import { Stream } from '../src/stores/stream.pg.ts';
import { extendedQuery, simpleQuery } from '../src/stores/wire.pg.ts';
import type { Person, PersonDatabase } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

const catalog: Catalog = { shapes: async () => new Map() };
const MIB = 1_048_576;
const limits = {
  requestMs: 60_000,
  resultBytes: MIB,
  spoolBytes: 65_536,
  spoolFolder: tmpdir(),
  spoolSpace: createSpoolSpace(MIB),
};

function begin(known: Catalog): { readonly stream: Stream; readonly script: AnswerScript } {
  const script = new AnswerScript(limits);
  return { script, stream: new Stream({ script, resultBytes: limits.resultBytes, describeRows: createDescribeRows(known) }) };
}

const connect = (database: PersonDatabase, person: Person): Promise<Connection> =>
  openConnection({
    databaseUrl: database.ownUrl,
    role: person.name,
    password: person.password,
    statementTimeoutMs: 10_000,
    runaway: () => {},
  });

/** The copy protocol has no end that this API could wait for: without this, the request would hang. */
test.for(['copy (select 1) to stdout', 'copy task_t from stdin', 'select 1; copy task_t from stdin; select 2'])(
  '%s ends its session',
  async (statement, { database, alice }) => {
    await database.query('drop table if exists task_t; create table task_t (a text)');
    await database.query(`grant all on task_t to ${alice.name}`);
    for (const bytes of [simpleQuery(`insert into task_t values ('lost'); ${statement}`), extendedQuery(statement, [])]) {
      const connection = await connect(database, alice);
      const { stream, script } = begin(catalog);
      stream.begin(connection);
      await (bytes[0] === 0x51 ? stream.simple(bytes, new Map(), true) : stream.extended(bytes, true));
      expect(stream.isOver).toBe(true);
      const answer = await script.finish();
      expect(answer.whole?.toString()).toMatch(/"error":\{"message":"(unsupported via this API: COPY|cannot insert multiple)/);
      connection.destroy();
      expect(await connection.clean()).toBe(false);
    }
  },
);

test('a result whose types cannot be looked up is an error, never another kind of value', async ({ database, alice }) => {
  const silent: Catalog = { ...catalog, shapes: () => Promise.reject(new Error('away')) };
  const connection = await connect(database, alice);
  const { stream, script } = begin(silent);
  stream.begin(connection);
  await stream.simple(simpleQuery('create type task_ct as (a int); select row(1)::task_ct'), new Map(), true);
  const answer = await script.finish();
  expect(answer.whole?.toString()).toContain('"error":{"message":"could not look up the types of the result","code":"58000"');
  expect(answer.whole?.toString()).not.toContain('"rows"');
  connection.destroy();
});

describe('a query that is asked for its columns first', () => {
  const canceled = { message: 'enough', code: '57014' };

  test('is not run if it is to stop before they have come, and its session is clean', async ({ database, alice }) => {
    const connection = await connect(database, alice);
    const { stream, script } = begin(catalog);
    stream.begin(connection);
    const ended = stream.described("select pg_advisory_lock(4242), set_config('a.b', 'c', false)", [], true);
    stream.stop(canceled);
    await ended;
    const answer = await script.finish();
    expect(JSON.parse(answer.whole?.toString() ?? '')).toEqual({ results: [{ error: canceled, notices: [] }] });
    // It was canceled, so it is not used again; but it has come to its end.
    expect(await connection.clean()).toBe(false);
  });

  test('can be stopped while it waits to be understood', async ({ database, alice }) => {
    await database.query('create table task_locked (a regclass)');
    await database.query(`grant select on task_locked to ${alice.name}`);
    const connection = await connect(database, alice);
    const locker = new pg.Client({ connectionString: database.url });
    await locker.connect();
    await locker.query('begin; lock table task_locked');
    const { stream, script } = begin(catalog);
    stream.begin(connection);
    const ended = stream.described('select * from task_locked', [], true);
    await eventually(async () => {
      const { rowCount } = await database.query("select from pg_locks where relation = 'task_locked'::regclass and not granted");
      return rowCount === 1;
    });
    stream.stop(canceled);
    await ended;
    const answer = await script.finish();
    expect(JSON.parse(answer.whole?.toString() ?? '')).toEqual({ results: [{ error: canceled, notices: [] }] });
    await locker.end();
    connection.destroy();
  });
});

describe('a script that is behind', () => {
  /** Tells in a word what it is told, and is behind as long as it likes. */
  function slowScript(isBehind: () => boolean): {
    readonly script: Script;
    readonly told: string[];
    catchUp(): void;
  } {
    const told: string[] = [];
    let waiting: (() => void)[] = [];
    const catchUp = (): void => {
      for (const resolve of waiting.splice(0)) resolve();
    };
    const script: Script = {
      out: new Output(),
      starting: (hasRows) => void told.push(hasRows ? 'starting' : 'starting without'),
      columns: jsonRows,
      openRow: () => {},
      closeRow: () => void told.push('row'),
      cutRow: () => {},
      continued: () => {},
      complete: (tag) => void told.push(tag),
      settings: () => {},
      notice: () => {},
      error: ({ code }) => void told.push(code),
      flush() {
        if (!isBehind()) return undefined;
        const { promise, resolve } = Promise.withResolvers<undefined>();
        waiting = [...waiting, () => resolve(undefined)];
        return promise;
      },
      release: catchUp,
    };
    return { script, told, catchUp };
  }

  const stopped = { message: 'enough', code: '57014' };

  test('is told nothing more until it has caught up', async ({ database, alice }) => {
    const connection = await connect(database, alice);
    const { script, told, catchUp } = slowScript(() => told.at(-1) === 'row');
    const stream = new Stream({ script, resultBytes: MIB, describeRows: createDescribeRows(catalog), isHeld: true });
    stream.begin(connection);
    const ended = stream.simple(simpleQuery('select 1 union all select 2'), new Map(), true);
    await eventually(() => told.length === 2);
    // What comes after would have come: the server has answered long ago.
    await database.query('select pg_sleep(0.1)');
    expect(told).toEqual(['starting', 'row']);
    catchUp();
    await eventually(() => told.length === 3);
    catchUp();
    await ended;
    expect(told).toEqual(['starting', 'row', 'row', 'SELECT 2']);
    connection.destroy();
  });

  test('is not waited for by a cancel: the rows that are left are left out', async ({ database, alice }) => {
    const connection = await connect(database, alice);
    const { script, told } = slowScript(() => told.at(-1) === 'row');
    const stream = new Stream({ script, resultBytes: MIB, describeRows: createDescribeRows(catalog), isHeld: true });
    stream.begin(connection);
    const ended = stream.simple(simpleQuery("select repeat('x', 100) from generate_series(1, 9)"), new Map(), true);
    await eventually(() => told.length === 2);
    stream.stop(stopped);
    await ended;
    expect(told).toEqual(['starting', 'row', '57014']);
    connection.destroy();
  });

  test.for(['simple', 'extended'] as const)(
    'is not told of a cancel that comes after the end of the only statement, in %s mode',
    async (mode, { database, alice }) => {
      const connection = await connect(database, alice);
      let isAtEnd = false;
      const { script, told } = slowScript(() => isAtEnd);
      const { complete } = script;
      script.complete = (tag, settings) => {
        isAtEnd = true;
        complete(tag, settings);
      };
      const stream = new Stream({ script, resultBytes: MIB, describeRows: createDescribeRows(catalog), isHeld: true });
      stream.begin(connection);
      if (mode === 'extended') isAtEnd = true;
      const ended =
        mode === 'simple'
          ? stream.simple(simpleQuery('set application_name = x'), new Map(), true)
          : stream.extended(extendedQuery('set application_name = x', []), true);
      await eventually(() => (mode === 'simple' ? told.length === 2 : script.flush() !== undefined));
      await database.query('select pg_sleep(0.1)');
      stream.stop(stopped);
      await ended;
      expect(told).toEqual(['starting without', 'SET']);
      connection.destroy();
    },
  );
});
