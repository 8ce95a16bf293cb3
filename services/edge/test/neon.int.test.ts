/** Neon's HTTP protocol at the edge: a connection string says who asks, and goes no further. */
import { noNeonFields } from '@postern/contracts/sql';
import { beforeEach, expect } from 'vitest';

import { bearer, edgeTest as test } from './edge-test.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const stringOf = (user: string, password: string, database = 'app', rest = '?sslmode=require'): string =>
  `postgresql://${encodeURIComponent(user)}:${encodeURIComponent(password)}@edge.test/${encodeURIComponent(database)}${rest}`;

const ask = (
  world: World,
  connectionString: string | undefined,
  headers: Record<string, string> = {},
  listener = 'password',
): Promise<Response> =>
  fetch(`${world.origins[listener]}/sql`, {
    method: 'POST',
    headers: { ...(connectionString !== undefined && { 'neon-connection-string': connectionString }), ...headers },
    body: '{"query":"select 1","params":[]}',
  });

beforeEach<{ world: World }>(({ world }) => {
  world.sql.reply = undefined;
  world.stub.lockedForSeconds = 0;
});

test('user and password are decoded, the database is passed on, and the string itself nowhere', async ({ world }) => {
  const password = 'p@ss/w:ö%#?';
  world.stub.people.set('us:er@x', password);
  const string = stringOf('us:er@x', password, 'my db/ö');
  const headers = {
    'neon-raw-text-output': 'true',
    'neon-array-mode': 'true',
    'neon-batch-isolation-level': 'Serializable',
    'neon-batch-read-only': 'true',
    'neon-batch-deferrable': 'true',
    'x-postern-database': 'forged',
    'neon-pool-opt-in': 'true',
  };
  world.sql.reply = (request, response) => {
    request.resume();
    const echoed = {
      'neon-batch-read-only': 'true',
      'neon-batch-deferrable': 'true',
      'neon-batch-isolation-level': 'Serializable',
    };
    response.writeHead(200, { 'content-type': 'application/json', ...echoed, 'neon-other': 'x' }).end('{}');
  };
  const response = await ask(world, string, headers);
  expect(response.status).toBe(200);
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'neon-batch-read-only': 'true',
    'neon-batch-deferrable': 'true',
    'neon-batch-isolation-level': 'Serializable',
  });
  expect(response.headers.get('neon-other')).toBeNull();
  const { values, rawHeaders, principal } = world.sql.last();
  expect([principal?.name, values('x-postern-database')]).toEqual(['us:er@x', [encodeURIComponent('my db/ö')]]);
  for (const name of Object.keys(headers).slice(0, 5)) expect(values(name)).toEqual([headers[name as keyof typeof headers]]);
  expect(values('neon-pool-opt-in')).toEqual([]);
  expect(values('neon-connection-string')).toEqual([]);
  expect(rawHeaders.join('\n')).not.toContain('postgresql://');
});

test('a string without a database asks for none', async ({ world }) => {
  for (const path of ['', '/']) {
    const string = `postgres://alice:${encodeURIComponent(PASSWORD)}@edge.test${path}`;
    expect((await ask(world, string, { 'x-postern-database': 'forged' })).status).toBe(200);
    expect(world.sql.last().values('x-postern-database')).toEqual([]);
  }
});

test('a body that streams has the same headers', async ({ world }) => {
  const response = await fetch(`${world.origins['password']}/sql`, {
    method: 'POST',
    headers: { 'neon-connection-string': stringOf('alice', PASSWORD), 'neon-array-mode': 'true' },
    body: JSON.stringify({ query: 'x'.repeat(100_000) }),
  });
  expect(response.status).toBe(200);
  const { values } = world.sql.last();
  expect([values('x-postern-database'), values('neon-array-mode'), values('neon-connection-string')]).toEqual([
    ['app'],
    ['true'],
    [],
  ]);
});

test('a key stands in the place of the password, and a bearer token beside a string without one', async ({ world }) => {
  expect((await ask(world, stringOf('alice', ALICE_KEY))).status).toBe(200);
  expect((await ask(world, 'postgres://authenticated@edge.test/app', bearer(ALICE_KEY))).status).toBe(200);
  expect(world.sql.last().principal?.name).toBe('alice');
  expect((await ask(world, stringOf('bob', ALICE_KEY))).status).toBe(400);
  expect((await ask(world, 'postgres://authenticated@edge.test/app', bearer(`pst_alice123_${'x'.repeat(43)}`))).status).toBe(400);
});

test('wrong credentials are told as the database tells them', async ({ world }) => {
  const before = world.sql.arrived.length;
  for (const string of [stringOf('alice', 'wrong'), stringOf('alice', ''), 'postgres://alice@edge.test/app']) {
    const response = await ask(world, string);
    expect([response.status, response.headers.get('content-type'), await response.json()]).toEqual([
      400,
      'application/json',
      { ...noNeonFields, message: 'password authentication failed for user "alice"', code: '28P01', severity: 'FATAL' },
    ]);
  }
  expect(world.sql.arrived.length).toBe(before);
});

test.for([
  ['none', undefined],
  ['an empty one', ''],
  ['one that is something else', 'https://alice:x@edge.test/app'],
  ['no URL', 'postgresql://'],
  ['key words', 'host=edge user=alice password=x'],
  ['a broken escape', 'postgresql://ali%zzce:x@edge.test/app'],
  ['an escape that is not UTF-8', 'postgresql://alice:%ff@edge.test/app'],
  ['a zero in the name', 'postgresql://ali%00ce:x@edge.test/app'],
  ['a database with a broken escape', 'postgresql://alice:x@edge.test/a%pp'],
] as const)(
  'a connection string that is %s is 400 with a message that shows nothing of it',
  async ([_what, string], { world }) => {
    const response = await ask(world, string);
    const body: unknown = await response.json();
    expect([response.status, response.headers.get('content-type'), body]).toEqual([
      400,
      'application/json',
      { ...noNeonFields, message: expect.stringMatching(/^the header Neon-Connection-String is /) },
    ]);
  },
);

/** Only what is shown on purpose counts: every page may ask, so that nothing may be sent by a browser itself. */
test('pages of every site may ask, and a cookie says nothing', async ({ world }) => {
  const { token } = world.stub.openSession('alice');
  const url = `${world.origins['password']}/sql`;
  const preflight = await fetch(url, {
    method: 'OPTIONS',
    headers: { origin: 'https://anywhere.test', 'access-control-request-method': 'POST' },
  });
  expect([preflight.status, Object.fromEntries(preflight.headers)]).toMatchObject([
    200,
    {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST, OPTIONS',
      'access-control-allow-headers':
        'authorization,content-type,neon-connection-string,neon-raw-text-output,neon-array-mode,neon-batch-isolation-level,neon-batch-read-only,neon-batch-deferrable',
      'access-control-max-age': '86400',
    },
  ]);
  expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
  const headers = { origin: 'https://anywhere.test', cookie: `postern_session=${token}` };
  const answer = await ask(world, stringOf('alice', PASSWORD), headers);
  expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, '*']);
  const denied = await ask(world, stringOf('alice', 'wrong'), headers);
  expect([denied.status, denied.headers.get('access-control-allow-origin')]).toEqual([400, '*']);
  expect(denied.headers.get('access-control-allow-credentials')).toBeNull();
});

/** imm-078: on a None listener nothing is shown but where one is; only pages that were named may be there. */
test('on a None listener only pages that were named may ask', async ({ world }) => {
  const anyone = stringOf('somebody', '');
  const from = async (origin: string): Promise<[number, string | null]> => {
    const response = await ask(world, anyone, { origin }, 'none');
    return [response.status, response.headers.get('access-control-allow-origin')];
  };
  expect((await ask(world, anyone, {}, 'none')).status).toBe(200);
  expect(await from('https://app.test')).toEqual([200, 'https://app.test']);
  expect(await from('https://anywhere.test')).toEqual([403, null]);
  const preflight = await fetch(`${world.origins['none']}/sql`, {
    method: 'OPTIONS',
    headers: { origin: 'https://anywhere.test' },
  });
  expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
});

test('failures have a message, whatever they are', async ({ world }) => {
  world.stub.lockedForSeconds = 77;
  const locked = await ask(world, stringOf('bob', 'guess'));
  expect([locked.status, locked.headers.get('retry-after'), await locked.json()]).toEqual([
    429,
    '77',
    { ...noNeonFields, message: 'Too many failed logins' },
  ]);
  const large = await fetch(`${world.origins['password']}/sql`, {
    method: 'POST',
    headers: { 'neon-connection-string': stringOf('alice', PASSWORD) },
    body: 'x'.repeat(5 * 1_048_576 + 1),
  });
  expect([large.status, await large.json()]).toEqual([413, { ...noNeonFields, message: 'The body is too large' }]);
  const method = await fetch(`${world.origins['password']}/sql`);
  expect([method.status, await method.json()]).toMatchObject([405, { message: expect.any(String) }]);
});

/** imm-059: it is a secret as a whole. */
test('the string is in no line, no answer and no header, whatever becomes of it', async ({ world }) => {
  world.lines.length = 0;
  const strings = [
    stringOf('alice', PASSWORD),
    stringOf('alice', 'not-the-word'),
    'postgresql://alice:half-a-word@[',
    'postgresql://alice:half-a-word@edge.test/%zz',
  ];
  let shown = '';
  world.sql.reply = (request, response) => {
    request.resume();
    response.destroy();
  };
  for (const string of strings) {
    const response = await ask(world, string);
    shown += JSON.stringify([...response.headers]) + (await response.text());
  }
  shown += JSON.stringify(world.lines) + JSON.stringify(world.sql.arrived.map(({ rawHeaders }) => rawHeaders));
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), 'not-the-word', 'half-a-word', 'postgresql:']) {
    expect(shown).not.toContain(secret);
  }
});
