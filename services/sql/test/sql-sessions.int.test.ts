/** Whose session it is, what is left of it, and who may have one. */
import { eventually } from '@postern/testkit/eventually';
import fc from 'fast-check';
import { describe, expect } from 'vitest';

import type { Entry, Person, RunningSql } from './sql-test.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

const value = (entries: readonly Entry[]): unknown => entries.at(-1)?.rows?.[0]?.[0];

const backend = async (sql: RunningSql, person: Person): Promise<unknown> =>
  value(await sql.simple(person, 'select pg_backend_pid()'));

describe('a session belongs to one person', () => {
  test('statements run as the role that logged in', async ({ sql, alice, bob }) => {
    for (const person of [alice, bob]) {
      expect((await sql.simple(person, 'select current_user, session_user, system_user'))[0]?.error?.code ?? 'ok').toMatch(
        /ok|42703/,
      );
      expect(outcomes(await sql.simple(person, 'select current_user, session_user'))).toEqual([[[person.name, person.name]]]);
    }
  });

  test.for([
    ['reset role', 'RESET'],
    ['set role postgres', '42501'],
    ['set session authorization postgres', '42501'],
    ['reset session authorization', 'RESET'],
    ["select set_config('role', 'postgres', false)", '42501'],
    ["select set_config('session_authorization', 'postgres', false)", '42501'],
    ['discard all', 'DISCARD ALL'],
    ['set role none', 'SET'],
  ] as const)('%s gains nothing (imm-073)', async ([statement, outcome], { sql, alice, bob }) => {
    const who = [[alice.name, alice.name]];
    expect(outcomes(await sql.extended(alice, [statement], ['select current_user, session_user']))).toEqual(
      /^\d/.test(outcome) ? [outcome] : [outcome, who],
    );
    expect(outcomes(await sql.simple(alice, 'select current_user, session_user'))).toEqual([who]);
    expect(outcomes(await sql.simple(bob, 'select current_user, session_user'))).toEqual([[[bob.name, bob.name]]]);
    await sql.simple(alice, `set role ${bob.name}`).then((entries) => expect(outcomes(entries)).toEqual(['42501']));
  });

  test('two people who take turns never meet in one backend', async ({ sql, alice, bob }) => {
    const seen = new Map<unknown, string>();
    for (let turn = 0; turn < 20; turn += 1) {
      const person = turn % 2 === 0 ? alice : bob;
      const pid = await backend(sql, person);
      expect(seen.get(pid) ?? person.name).toBe(person.name);
      seen.set(pid, person.name);
    }
    // Connections are kept: there are fewer of them than turns.
    expect(seen.size).toBeLessThan(6);
  });
});

/** What a session shows of itself, apart from what is different for every backend and moment. */
const PORTRAIT = `
  select (select json_object_agg(name, setting order by name) from pg_settings where name not in ('transaction_isolation')),
         (select count(*) from pg_prepared_statements),
         (select count(*) from pg_listening_channels()),
         (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'),
         (select count(*) from pg_cursors),
         to_regclass('pg_temp.leak')::text, now() = statement_timestamp(), current_user, session_user,
         (select count(*) from pg_class where relnamespace = pg_my_temp_schema())`;

/** Each leaves something behind in the session that a pool would pass on. */
const TRACES = [
  "set application_name = 'leak'",
  "set search_path = 'pg_temp'",
  "set timezone = 'Asia/Tokyo'",
  "set statement_timeout = '7s'",
  "set datestyle = 'German'",
  'set role none',
  "select set_config('work_mem', '77kB', false)",
  'set session characteristics as transaction read only',
  'set default_transaction_isolation = serializable',
  'create temp table leak (a int)',
  'prepare leak as select 1',
  'listen leak',
  'select pg_advisory_lock(4711)',
  'select pg_advisory_lock_shared(4712)',
  'begin',
  'begin; select pg_advisory_xact_lock(4713)',
  'begin; select 1/0',
  'begin isolation level serializable; create temp table leak (a int)',
  'select nosuch',
  'set client_min_messages = error',
];

describe('nothing is left in a session (imm-074)', () => {
  test('what a request does to its session is undone before the next one has it', async ({ startSql, person }) => {
    const sql = await startSql({ pool: { perRole: 1 } });
    const carol = await person('carol');
    const portrait = async (): Promise<unknown> => (await sql.simple(carol, PORTRAIT))[0]?.rows;
    const pristine = await portrait();
    const pid = await backend(sql, carol);
    for (const trace of TRACES) {
      await sql.simple(carol, trace);
      expect(await portrait(), trace).toEqual(pristine);
      await sql.extended(carol, ...trace.split('; ').map((statement) => [statement] as const));
      expect(await portrait(), `extended ${trace}`).toEqual(pristine);
      expect(await backend(sql, carol)).toBe(pid);
    }
  });

  test('any mixture of them leaves nothing either', async ({ startSql, person }) => {
    const sql = await startSql({ pool: { perRole: 1 } });
    const dave = await person('dave');
    const portrait = async (): Promise<unknown> => (await sql.simple(dave, PORTRAIT))[0]?.rows;
    const pristine = await portrait();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...TRACES), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        async (traces, isSimple) => {
          if (isSimple) await sql.simple(dave, traces.join('; '));
          else await sql.extended(dave, ...traces.flatMap((trace) => trace.split('; ').map((statement) => [statement] as const)));
          expect(await portrait()).toEqual(pristine);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('an open transaction keeps no lock for longer than its request', async ({ sql, alice, bob, database }) => {
    await sql.simple(alice, `create table held (a int); grant all on held to ${bob.name}; insert into held values (1)`);
    await sql.simple(alice, 'begin; lock table held');
    expect(outcomes(await sql.simple(bob, "set lock_timeout = '5s'; update held set a = 2"))).toEqual(['SET', 'UPDATE 1']);
    await sql.simple(alice, 'select pg_advisory_lock(99)');
    await eventually(async () => {
      const { rows } = await database.query(
        `select count(*)::int as held from pg_locks join pg_database d on d.oid = database
          where datname = current_database() and locktype = 'advisory' and objid = 99`,
      );
      expect(rows).toEqual([{ held: 0 }]);
    });
  });

  test('a session that was cut off is replaced without a word', async ({ startSql, person, database }) => {
    const sql = await startSql({ pool: { perRole: 1 } });
    const erin = await person('erin');
    const pid = await backend(sql, erin);
    await database.query('select pg_terminate_backend($1)', [pid]);
    await eventually(async () =>
      expect((await database.query('select from pg_stat_activity where pid = $1', [pid])).rowCount).toBe(0),
    );
    await eventually(async () => expect(await backend(sql, erin)).not.toBe(pid));
  });

  test('a session that ends itself is an error of the statement', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'select 1; select pg_terminate_backend(pg_backend_pid()); select 2'))).toEqual([
      [['1']],
      '57P01',
    ]);
    expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
  });
});

describe('who may have a session', () => {
  test('the login is lent once, and used until it is revoked', async ({ startSql, person, auth }) => {
    const sql = await startSql();
    const frank = await person('frank');
    const count = (): number => auth.lent.filter((role) => role === frank.name).length;
    await Promise.all([1, 2, 3].map(() => sql.simple(frank, 'select pg_sleep(0.05)')));
    expect(count()).toBe(1);
    const pid = await backend(sql, frank);
    auth.revoke(frank.principal);
    // Until the news has come, another of the three that are idle may be lent.
    await eventually(async () => {
      expect(await backend(sql, frank)).not.toBe(pid);
      expect(count()).toBe(2);
    });
  });

  test('a session that was cut off in a request is no longer counted', async ({ startSql, person, database }) => {
    const sql = await startSql({ pool: { perRole: 1 } });
    const lost = await person('lost');
    for (let turn = 0; turn < 3; turn += 1) {
      const pid = await backend(sql, lost);
      const cut = sql.simple(lost, 'select pg_sleep(600)');
      const isRunning = 'select from pg_stat_activity where pid = $1 and state = $2';
      await eventually(async () => expect((await database.query(isRunning, [pid, 'active'])).rowCount).toBe(1));
      await database.query('select pg_terminate_backend($1, 5000)', [pid]);
      await cut;
    }
    expect(outcomes(await sql.simple(lost, 'select 1'))).toEqual([[['1']]]);
  });

  test('a password that was changed is asked for again', async ({ startSql, person, people, database }) => {
    const sql = await startSql({ pool: { perRole: 1 } });
    const grace = await person('grace');
    const pid = await backend(sql, grace);
    await database.query(`alter role ${grace.name} password 'changed'`);
    people.set(grace.name, { ...grace, password: 'changed' });
    await database.query('select pg_terminate_backend($1)', [pid]);
    await eventually(async () => expect(outcomes(await sql.simple(grace, 'select 1'))).toEqual([[['1']]]));
  });

  /** Otherwise one statement of theirs would shut a person out until somebody mends their role by hand. */
  test.for([
    ["alter role current_user password 'x12345678'", '28P01'],
    ["alter role current_user set local_preload_libraries = 'nonesuch'", '58P01'],
    ["alter role current_user set local_preload_libraries = '/nonesuch'", '42501'],
  ] as const)('%s does not shut out whoever says it', async ([statement, code], { startSql, person, auth, database, people }) => {
    const sql = await startSql();
    const mia = await person(`mia${code.toLowerCase()}`);
    let healed = 0;
    auth.healers.set(mia.name, async () => {
      healed += 1;
      await database.query(`alter role ${mia.name} reset all`);
      await database.query(`alter role ${mia.name} password 'fresh'`);
      people.set(mia.name, { ...mia, password: 'fresh' });
    });
    expect(outcomes(await sql.simple(mia, statement))).toEqual(['ALTER ROLE']);
    await database.query('select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1', [mia.name]);
    await eventually(async () => expect(outcomes(await sql.simple(mia, 'select 1'))).toEqual([[['1']]]));
    expect(healed).toBe(1);
  });

  test('a login that cannot be healed is asked about once a request', async ({ startSql, person, auth, database }) => {
    const sql = await startSql();
    const noa = await person('noa');
    let asked = 0;
    auth.healers.set(noa.name, async () => void (asked += 1));
    await database.query(`alter role ${noa.name} password 'another'`);
    const { status, text } = await sql.send(noa, { query: 'select 1' });
    expect([status, (JSON.parse(text) as { code: string }).code, asked]).toEqual([403, '28P01', 1]);
  });

  test('what runs for a revoked person is canceled, and what runs for others is not', async ({
    startSql,
    person,
    auth,
    database,
  }) => {
    const sql = await startSql();
    const [heidi, ivan] = [await person('heidi'), await person('ivan')];
    const tokened = { ...heidi, principal: { ...heidi.principal, tokenId: 'token-1' } };
    const running = async (): Promise<unknown> =>
      (
        await database.query(
          `select count(*)::int as n from pg_stat_activity
            where usename = any ($1) and query like 'select pg_sleep(60)%' and state = 'active'`,
          [[heidi.name, ivan.name]],
        )
      ).rows[0]?.['n'];
    const [byPassword, byToken, other] = [heidi, tokened, ivan].map((who) => sql.simple(who, 'select pg_sleep(60)'));
    await eventually(async () => expect(await running()).toBe(3));
    auth.revoke(heidi.principal, 'token-1');
    expect((await byToken)?.[0]?.error?.code).toBe('57014');
    expect(await running()).toBe(2);
    auth.revoke(heidi.principal);
    expect((await byPassword)?.[0]?.error).toMatchObject({
      code: '57014',
      message: 'canceling statement because the credential was revoked',
    });
    expect(await running()).toBe(1);
    auth.revoke(ivan.principal);
    await other;
  });

  test('whom auth does not lend a login gets none', async ({ startSql, person, auth }) => {
    const sql = await startSql();
    const judy = await person('judy');
    auth.denied.add(judy.name);
    const { status, text } = await sql.send(judy, { query: 'select 1' });
    expect([status, (JSON.parse(text) as { code: string }).code]).toEqual([401, 'LOGIN_DENIED']);
  });

  test('whom the server turns away hears it in the words of SQL', async ({ startSql, person, database }) => {
    const sql = await startSql();
    const mallory = await person('mallory');
    await database.query(`alter role ${mallory.name} nologin`);
    const { status, text } = await sql.send(mallory, { query: 'select 1' });
    expect(status).toBe(403);
    expect(JSON.parse(text)).toMatchObject({ code: '28000', message: `role "${mallory.name}" is not permitted to log in` });
  });

  test("a person's own limit of the server is a 500 with the server's error", async ({ startSql, person, database }) => {
    const sql = await startSql();
    const niaj = await person('niaj');
    await database.query(`alter role ${niaj.name} connection limit 0`);
    const { status, headers, text } = await sql.send(niaj, { query: 'select 1' });
    expect([status, headers.get('content-type')]).toEqual([500, 'application/json']);
    expect(JSON.parse(text)).toEqual({ message: `too many connections for role "${niaj.name}"`, code: '53300' });
  });

  test('who waits too long for a session hears the limit', async ({ startSql, person, database }) => {
    const sql = await startSql({ pool: { perRole: 1, waitMs: 100 } });
    const olivia = await person('olivia');
    const pid = await backend(sql, olivia);
    const running = sql.simple(olivia, 'select pg_sleep(60)');
    const isRunning = "select from pg_stat_activity where pid = $1 and state = 'active'";
    await eventually(async () => expect((await database.query(isRunning, [pid])).rowCount).toBe(1));
    const { status, text } = await sql.send(olivia, { query: 'select 1' });
    expect(status).toBe(500);
    expect(JSON.parse(text)).toEqual({
      message: 'creating connection would violate max_connections limit (desired: 2, limit: 1, current: 1)',
      code: '53300',
    });
    await database.query('select pg_cancel_backend($1)', [pid]);
    expect(outcomes(await running)).toEqual(['57014']);
  });

  test('many more requests than sessions all get theirs', async ({ startSql, person }) => {
    const sql = await startSql({ pool: { perRole: 2, total: 3 } });
    const people = [await person('peggy'), await person('quentin'), await person('rupert')];
    const requests = people.flatMap((who) =>
      Array.from({ length: 20 }, async (_, at) => {
        expect(outcomes(await sql.simple(who, `select current_user, ${at}::text`))).toEqual([[[who.name, String(at)]]]);
      }),
    );
    await Promise.all(requests);
  });

  test('a database that is away is 503, with a time to come back', async ({ startSql, alice }) => {
    const sql = await startSql({ databaseUrl: 'postgres://nobody@127.0.0.1:1/app' });
    const { status, headers, text } = await sql.send(alice, { query: 'select 1' });
    expect([status, headers.get('content-type'), headers.get('retry-after')]).toEqual([503, 'application/problem+json', '1']);
    expect((JSON.parse(text) as { code: string }).code).toBe('UNAVAILABLE');
  });
});
