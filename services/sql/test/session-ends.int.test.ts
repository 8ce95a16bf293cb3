/** What a browser session has begun ends with it, whichever way it was asked. */
import { sessionRevoked } from '@postern/contracts/session';
import { emit } from '@postern/rpc/events';
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { expect } from 'vitest';

import { sqlTest as test } from './sql-test.ts';

const SLEEP = 'select pg_sleep(60)';
const LOCK = 4_790;

test('imm-079: a session that ends takes along what was begun with it, and nothing else', async ({
  sql,
  person,
  database,
  bus,
}) => {
  const ada = await person('ada');
  const [mine, other] = ['session-number-1', 'session-number-2'].map((sessionId) => ({
    ...ada,
    principal: { ...ada.principal, sessionId },
  }));
  if (mine === undefined || other === undefined) throw new TypeError('two sessions');
  const headers = await sql.headers(mine);
  const post = (path: string, body: unknown): Promise<Response> =>
    fetch(`${sql.origin}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  // What goes on does so for as long as the test likes.
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query(`select pg_advisory_lock(${LOCK})`);
  const { id } = (await (await post('/api/sql/statements', { query: SLEEP })).json()) as { readonly id: string };
  const request = sql.simple(mine, SLEEP);
  const neon = post('/sql', { query: SLEEP });
  const others = sql.simple(other, `select 1 from pg_advisory_lock(${LOCK})`);
  await eventually(async () => {
    const { rows } = await database.query(
      "select wait_event_type from pg_stat_activity where usename = $1 and state = 'active' order by 1",
      [ada.name],
    );
    expect(rows.map(({ wait_event_type: type }) => type)).toEqual(['Lock', 'Timeout', 'Timeout', 'Timeout']);
  });
  const session = await bus('session');
  emit(session, sessionRevoked, { principalId: ada.principal.id, sessionId: 'session-number-1' });
  await session.flush();
  expect((await request)[0]?.error).toMatchObject({
    code: '57014',
    message: 'canceling statement because the credential was revoked',
  });
  expect(await (await neon).json()).toMatchObject({ code: '57014' });
  await eventually(async () => expect((await fetch(`${sql.origin}/api/sql/statements/${id}`, { headers })).status).toBe(404));
  await holder.end();
  expect((await others)[0]?.rows).toEqual([['1']]);
});
