import { eventually } from '@postern/testkit/eventually';
import fc from 'fast-check';
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect } from 'vitest';

import { basic, edgeTest as test } from './edge-test.ts';
import { rawRequest, sendRaw } from './raw-client.ts';
import type { World } from './world.ts';
import { PASSWORD } from './world.ts';

const AUTHORIZATION = `Authorization: ${basic('alice', PASSWORD)['authorization']}`;
const JSON_TYPE = 'Content-Type: application/json';
const BODY = '{"query":"select 1"}';

const post = (headers: readonly string[] = [], body = BODY, line = 'POST /api/sql HTTP/1.1'): string =>
  rawRequest(line, [AUTHORIZATION, JSON_TYPE, `Content-Length: ${body.length}`, ...headers], body);

const statusOf = async (world: World, bytes: string): Promise<number | undefined> =>
  (await sendRaw(world.port('password'), bytes)).answers[0]?.status;

/** Identity headers, as upstreams of many kinds would read them. */
const IDENTITY_HEADERS = [
  'x-postern-principal',
  'x-materialize-user',
  'x-forwarded-user',
  'x-remote-user',
  'remote-user',
  'x-deadline-ms',
];

/** imm-001, imm-002: the canary reads headers as carelessly as the worst upstream, and sees one value, ours. */
test('an identity header in any spelling, repeated or joined, never reaches a service', async ({ world }) => {
  const spelling = fc
    .tuple(fc.constantFrom(...IDENTITY_HEADERS), fc.constantFrom('-', '_', '.'), fc.boolean())
    .map(([name, separator, upper]) => (upper ? name.toUpperCase() : name).replaceAll('-', separator));
  const value = fc.constantFrom('mz_system', 'mz_system, mz_system', 'e30.e30.e30', ' mz_system ', '\tmz_system');
  const header = fc.tuple(spelling, value).map(([name, text]) => `${name}: ${text}`);
  await fc.assert(
    fc.asyncProperty(fc.array(header, { minLength: 1, maxLength: 4 }), async (headers) => {
      const before = world.sql.arrived.length;
      const status = await statusOf(world, post(headers));
      if (status === 400) {
        expect(world.sql.arrived.length).toBe(before);
        return;
      }
      expect(status).toBe(200);
      const { principal, values } = world.sql.last();
      expect(principal?.name).toBe('alice');
      expect(values('x-postern-principal')).toHaveLength(1);
      for (const name of IDENTITY_HEADERS.slice(1, 5)) expect(values(name)).toEqual([]);
      expect(values('x-deadline-ms')).toEqual(['330000']);
    }),
    { numRuns: 60 },
  );
});

test.for([
  ['a space before the colon', 'x-postern-principal : e30.e30.e30'],
  ['a tab before the colon', 'x-postern-principal\t: e30.e30.e30'],
  ['a space inside the name', 'x postern principal: e30.e30.e30'],
  ['a folded line', 'x-anything: a\r\n x-postern-principal: e30.e30.e30'],
  ['a folded line with a tab', 'x-anything: a\r\n\tb'],
  ['a bare carriage return', 'x-anything: a\rx-postern-principal: e30'],
  ['a NUL', 'x-anything: a\0b'],
  ['an empty name', ': value'],
  ['a trusted header twice', 'x-materialize-user: mz_system\r\nX-Materialize-User: mz_system'],
  ['a second authorization', 'Authorization: Bearer x'],
  ['a second host', 'Host: other'],
] as const)('a header section with %s is refused, and nothing arrives', async ([_what, header], { world }) => {
  const before = world.sql.arrived.length;
  const { answers, closed } = await sendRaw(world.port('password'), post([header]));
  expect([answers[0]?.status, closed]).toEqual([400, true]);
  expect(answers[0]?.headers['content-type']).toBe('application/problem+json');
  expect(world.sql.arrived.length).toBe(before);
});

/** imm-003: one way in for everything. */
test('identity is the same over HTTP/1.0, over an upgrade and over CONNECT: ours or nothing', async ({ world }) => {
  const forged = 'x_postern_principal: e30.e30.e30';
  expect(await statusOf(world, post([forged], BODY, 'POST /api/sql HTTP/1.0'))).toBe(200);
  expect(world.sql.last().values('x-postern-principal')).toHaveLength(1);
  const before = world.sql.arrived.length;
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    forged,
  ];
  expect(await statusOf(world, rawRequest('GET /api/sql HTTP/1.1', upgrade))).toBe(404);
  expect(await statusOf(world, rawRequest('GET /../api/sql HTTP/1.1', upgrade))).toBe(400);
  expect(await statusOf(world, rawRequest('CONNECT edge:80 HTTP/1.1', [forged]))).toBe(400);
  expect(world.sql.arrived.length).toBe(before);
});

test('an offer of another protocol is ignored', async ({ world }) => {
  const offer = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA'];
  expect(await statusOf(world, post(offer))).toBe(200);
});

/** imm-008 */
test('Connection cannot name a header that is then lost on the way', async ({ world }) => {
  const before = world.sql.arrived.length;
  for (const token of ['x-postern-principal', 'close, x-request-id', 'content-length', 'authorization']) {
    expect(await statusOf(world, post([`Connection: ${token}`]))).toBe(400);
  }
  expect(world.sql.arrived.length).toBe(before);
  expect(await statusOf(world, post(['Connection: close']))).toBe(200);
  expect(world.sql.last().principal?.name).toBe('alice');
});

/** imm-004, imm-005 */
test('what is said to have been forwarded reaches no service, no log line and no answer', async ({ world }) => {
  world.lines.length = 0;
  const forged = [
    'X-Forwarded-For: 9.9.9.9',
    'X-Forwarded-Host: evil.test',
    'X-Forwarded-Proto: https',
    'Forwarded: for=9.9.9.9',
    'X-Real-IP: 9.9.9.9',
    'X-Original-URL: /metrics',
    'X-Rewrite-URL: /metrics',
    'X-HTTP-Method-Override: GET',
  ];
  const { answers } = await sendRaw(
    world.port('password'),
    post([...forged, 'X-Request-Id: 11111111-1111-1111-1111-111111111111']),
  );
  expect(answers[0]?.status).toBe(200);
  const arrived = JSON.stringify(world.sql.last().rawHeaders);
  expect(arrived).not.toMatch(/9\.9\.9\.9|evil|metrics|11111111|override/i);
  expect(JSON.stringify([answers, world.lines])).not.toMatch(/9\.9\.9\.9|evil|11111111/);
});

test('a service sees the named headers of the client, its own host, a request id and the time that is left', async ({
  world,
}) => {
  await sendRaw(
    world.port('password'),
    post([
      'Accept: text/x',
      'Cookie: a=b',
      'X-Other: 1',
      'User-Agent: me',
      `traceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    ]),
  );
  const names = world.sql.last().rawHeaders.filter((_, index) => index % 2 === 0);
  expect(names).toEqual([
    'host',
    'x-request-id',
    'x-postern-principal',
    'x-deadline-ms',
    'accept',
    'content-type',
    'user-agent',
    'traceparent',
    'content-length',
  ]);
  expect(world.sql.last().values('host')).toEqual([new URL(world.sql.origin).host]);
});

/** imm-020, imm-021, imm-022, imm-023, imm-026: a raw client, since others repair paths before they send them. */
test.for([
  ['POST /api/../api/sql', 400],
  ['POST /./api/sql', 400],
  ['POST /api/%2e%2e/api/sql', 400],
  ['POST /api%2Fsql', 400],
  ['POST /api%5Csql', 400],
  ['POST /api\\sql', 400],
  ['POST //api/sql', 400],
  ['POST /api//sql', 400],
  ['POST /api/sql;a=b', 400],
  ['POST /api/sql%00', 400],
  ['POST /api/sql%3f', 404],
  ['POST /api/%73ql', 404],
  ['POST /api/sql/', 404],
  ['POST /API/SQL', 404],
  ['POST /api/Sql', 404],
  ['POST /api/sql%20', 404],
  ['POST /api/sql.json', 404],
  ['POST /api/%c0%af', 400],
  ['POST /api/sql%', 400],
  ['POST /api/sql#x', 400],
  ['POST /api/sql?a#b', 400],
  ['POST http://edge/api/sql', 400],
  ['POST http://other/api/sql', 400],
  ['POST edge:80', 400],
  ['OPTIONS *', 400],
  ['GET /api/sql', 405],
  ['PUT /api/sql', 405],
  ['DELETE /api/sql', 405],
  ['TRACE /api/sql', 405],
  ['GET /nothing?x=/api/sql', 404],
] as const)('%s is answered %i, and nothing arrives', async ([line, status], { world }) => {
  const before = world.sql.arrived.length + world.auth.arrived.length;
  expect(await statusOf(world, post([], BODY, `${line} HTTP/1.1`))).toBe(status);
  expect(world.sql.arrived.length + world.auth.arrived.length).toBe(before);
});

/** imm-020, imm-024: the path that was decided on is the path that arrives, byte for byte, or nothing does. */
test('whatever the target, a service sees exactly it, or nothing', async ({ world }) => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5c',
    '\\',
    ';',
    'api',
    'people',
    'keys',
    'sql',
    'x',
    '%C3%BC',
    '%20',
    '?',
    '?options=%7B%7D',
    '&a=%zz',
    '~',
    '@',
    ':',
    '%',
    '%00',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
      const target = `/api/people${pieces.join('')}`;
      const before = world.auth.arrived.length;
      const status = await statusOf(world, rawRequest(`GET ${target} HTTP/1.1`, [AUTHORIZATION]));
      if (status !== 200) {
        expect([world.auth.arrived.length, [400, 404, 405].includes(status ?? 0)]).toEqual([before, true]);
        return;
      }
      expect(world.auth.arrived.length).toBe(before + 1);
      expect(world.auth.last().url).toBe(target);
      const path = target.replace(/\?.*/, '');
      expect(new URL(target, 'http://x').pathname).toBe(path);
      expect(path).toMatch(/^\/api\/people(?:\/[^/]+)?$/);
    }),
    { numRuns: 150 },
  );
});

test('options in the query pass to sql untouched, also where they make no sense', async ({ world }) => {
  for (const query of [
    '?options=%7B%22a%22%3A%22b%22%7D',
    '?options=%',
    '?options',
    '?',
    '?a=b&options=&&=',
    `?options=${'x'.repeat(9_000)}`,
  ]) {
    expect(await statusOf(world, post([], BODY, `POST /api/sql${query} HTTP/1.1`))).toBe(200);
    expect(world.sql.last().url).toBe(`/api/sql${query}`);
  }
});

/** imm-009: a message with two readings is refused, the connection ends, and nobody upstream saw any of it. */
const SMUGGLED = 'GET /api/me HTTP/1.1\r\nHost: x\r\n\r\n';
const ambiguous: readonly (readonly [string, readonly string[], string])[] = [
  ['CL and TE', ['Content-Length: 5', 'Transfer-Encoding: chunked'], `0\r\n\r\n${SMUGGLED}`],
  ['TE and CL', ['Transfer-Encoding: chunked', 'Content-Length: 5'], `0\r\n\r\n${SMUGGLED}`],
  ['two lengths that differ', ['Content-Length: 5', 'Content-Length: 6'], 'aaaaaa'],
  ['two lengths that agree', ['Content-Length: 5', 'Content-Length: 5'], 'aaaaa'],
  ['a list of lengths', ['Content-Length: 5, 5'], 'aaaaa'],
  ['a signed length', ['Content-Length: +5'], 'aaaaa'],
  ['a negative length', ['Content-Length: -5'], 'aaaaa'],
  ['a hexadecimal length', ['Content-Length: 0x5'], 'aaaaa'],
  ['a length with a space in it', ['Content-Length: 5 5'], 'aaaaa'],
  ['an empty length', ['Content-Length: '], ''],
  ['an enormous length', ['Content-Length: 99999999999999999999'], 'a'],
  ['TE twice', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], '0\r\n\r\n'],
  ['TE twice the same', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
  ['TE with another coding', ['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'],
  ['TE not last chunked', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
  ['TE xchunked', ['Transfer-Encoding: xchunked'], '0\r\n\r\n'],
  ['TE quoted', ['Transfer-Encoding: "chunked"'], '0\r\n\r\n'],
  ['TE after a tab', ['Transfer-Encoding:\tchunked, '], '0\r\n\r\n'],
  ['TE with a vertical tab', ['Transfer-Encoding: \x0bchunked'], '0\r\n\r\n'],
  ['TE with a space before the colon', ['Transfer-Encoding : chunked'], '0\r\n\r\n'],
  ['TE folded', ['Transfer-Encoding:\r\n chunked'], '0\r\n\r\n'],
  ['TE in the spelling of CGI', ['Transfer_Encoding: chunked', 'Transfer-Encoding: chunke'], '0\r\n\r\n'],
  ['a chunk size that is none', ['Transfer-Encoding: chunked'], 'zz\r\n\r\n'],
  ['a signed chunk size', ['Transfer-Encoding: chunked'], '+5\r\naaaaa\r\n0\r\n\r\n'],
  ['a chunk size in 0x', ['Transfer-Encoding: chunked'], '0x5\r\naaaaa\r\n0\r\n\r\n'],
  ['a chunk that is longer than its size', ['Transfer-Encoding: chunked'], '3\r\naaaaa\r\n0\r\n\r\n'],
  ['a chunk that ends in a bare LF', ['Transfer-Encoding: chunked'], '5\r\naaaaa\n0\r\n\r\n'],
  ['a chunk size that ends in a bare LF', ['Transfer-Encoding: chunked'], '5\naaaaa\r\n0\r\n\r\n'],
  ['a chunk size of many digits', ['Transfer-Encoding: chunked'], `${'f'.repeat(20)}\r\n`],
];

test.for(ambiguous)('%s: refused, closed, unseen', async ([_what, headers, body], { world }) => {
  world.sql.arrived.length = 0;
  world.auth.arrived.length = 0;
  const request = `POST /api/login HTTP/1.1\r\nHost: edge\r\n${JSON_TYPE}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`;
  const viaSql = request.replace('/api/login', '/api/sql').replace(JSON_TYPE, `${JSON_TYPE}\r\n${AUTHORIZATION}`);
  for (const bytes of [request, viaSql]) {
    const { answers, closed } = await sendRaw(world.port('password'), bytes);
    expect(answers.map(({ status }) => status)).toEqual([400]);
    expect(answers[0]?.headers['content-type']).toBe('application/problem+json');
    expect(closed).toBe(true);
  }
  const seen = [...world.sql.arrived, ...world.auth.arrived];
  expect(seen.filter(({ url }) => url === '/api/me')).toEqual([]);
  await eventually(() => expect(seen.every(({ aborted }) => aborted)).toBe(true));
});

test.for([
  ['a line that ends in a bare LF', `POST /api/sql HTTP/1.1\nHost: edge\n\n`],
  ['a header that ends in a bare LF', `GET /api/me HTTP/1.1\r\nHost: edge\nX: y\r\n\r\n`],
  ['no version', 'GET /api/me\r\nHost: edge\r\n\r\n'],
  ['HTTP/0.9', 'GET /api/me\r\n\r\n'],
  ['HTTP/0.9 with a version', 'GET /api/me HTTP/0.9\r\nHost: edge\r\n\r\n'],
  ['HTTP/2.0', `POST /api/sql HTTP/2.0\r\nHost: edge\r\n${AUTHORIZATION}\r\n${JSON_TYPE}\r\nContent-Length: 2\r\n\r\n{}`],
  ['HTTP/1.2', 'GET /api/me HTTP/1.2\r\nHost: edge\r\n\r\n'],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a space before the method', ' GET /api/me HTTP/1.1\r\nHost: edge\r\n\r\n'],
  ['a tab in the request line', 'GET\t/api/me\tHTTP/1.1\r\nHost: edge\r\n\r\n'],
  ['a lower-case method', 'get /api/me HTTP/1.1\r\nHost: edge\r\n\r\n'],
  ['a method nobody knows', 'SMUGGLE /api/me HTTP/1.1\r\nHost: edge\r\n\r\n'],
  ['no host', 'GET /api/me HTTP/1.1\r\n\r\n'],
  ['a malformed host', 'GET /api/me HTTP/1.1\r\nHost: a b\r\n\r\n'],
  ['TE in HTTP/1.0', `POST /api/login HTTP/1.0\r\nHost: edge\r\n${JSON_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['TLS', Buffer.from([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).toString('latin1')],
] as const)('%s: refused and closed', async ([_what, bytes], { world }) => {
  const { answers, closed } = await sendRaw(world.port('password'), Buffer.from(bytes, 'latin1'));
  expect([answers.map(({ status }) => status), closed]).toEqual([[400], true]);
});

/** imm-009: differential check. */
test('as many requests arrive as were accepted, pipelined or not', async ({ world }) => {
  const before = world.sql.arrived.length;
  const { answers } = await sendRaw(world.port('password'), post() + post() + post(['Transfer-Encoding: chunked']), 3);
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 400]);
  expect(world.sql.arrived.length).toBe(before + 2);
});

/** imm-009: what is refused ends its connection; what came with it may be the rest of it, and is nobody's request. */
test.for([
  ['an ambiguous message', rawRequest('GET / HTTP/1.1', ['Connection: x-postern-principal']), [400]],
  ['one without a host', 'GET / HTTP/1.1\r\n\r\n', [400]],
  ['one with a version that is none', 'GET / HTTP/0.9\r\nHost: edge\r\n\r\n', [400]],
  ['a large body that nobody wanted', rawRequest('POST /api/sql HTTP/1.1', ['Content-Length: 70000'], 'x'.repeat(70_000)), [401]],
  ['a refused one behind one that is served', post() + rawRequest('GET / HTTP/1.1', ['Connection: authorization']), [200, 400]],
] as const)('what is pipelined behind %s is never executed', async ([_what, bytes, statuses], { world }) => {
  // Who it is by is known by now, and what is executed at once has arrived by the time that another request has.
  expect(await statusOf(world, post())).toBe(200);
  world.sql.arrived.length = 0;
  const { answers, closed } = await sendRaw(world.port('password'), bytes + post() + post(), 4);
  expect([answers.map(({ status }) => status), closed]).toEqual([statuses, true]);
  expect(await statusOf(world, post())).toBe(200);
  expect(world.sql.arrived.length).toBe(statuses.filter((status: number) => status === 200).length + 1);
});

/** imm-009: nothing behind an answer that ends the connection, and that answer all the same. */
test('bytes that are too many do not cost a request its answer', async ({ world }) => {
  for (const bytes of ['x', '\r\nx', post(), 'x'.repeat(70_000)]) {
    world.sql.arrived.length = 0;
    const probe = await sendRaw(world.port('password'), rawRequest('GET /api/livez HTTP/1.1', ['Connection: close']) + bytes, 2);
    expect([probe.answers.map(({ status }) => status), probe.closed]).toEqual([[200], true]);
    const { answers, closed } = await sendRaw(world.port('password'), post(['Connection: close']) + bytes, 2);
    expect([answers.map(({ status }) => status), closed, world.sql.arrived.length]).toEqual([[200], true, 1]);
  }
});

test('noise after a request is answered after it, and never in the middle of it', async ({ world }) => {
  world.sql.reply = (request, response) => {
    request.resume();
    response.writeHead(200, { 'content-length': 4 });
    response.write('ha');
    request.once('end', () => response.end('lf'));
  };
  const { answers, closed } = await sendRaw(world.port('password'), `${post()}NOISE\r\n\r\n`, 2).finally(
    () => (world.sql.reply = undefined),
  );
  expect(answers.map(({ status, body }) => [status, status === 200 ? body : ''])).toEqual([
    [200, 'half'],
    [400, ''],
  ]);
  expect(closed).toBe(true);
});

test('bodies of methods that have none are left behind, and never framed anew', async ({ world }) => {
  const before = world.auth.arrived.length;
  const chunked = `${rawRequest('GET /api/me HTTP/1.1', [AUTHORIZATION, 'Transfer-Encoding: chunked'])}21\r\n${SMUGGLED}\r\n0\r\n\r\n`;
  expect(await statusOf(world, chunked)).toBe(200);
  expect(
    await statusOf(
      world,
      rawRequest('DELETE /api/people/bob HTTP/1.1', [AUTHORIZATION, `Content-Length: ${SMUGGLED.length}`], SMUGGLED),
    ),
  ).toBe(200);
  const arrived = world.auth.arrived.slice(before);
  expect(arrived.map(({ method, url, body }) => [method, url, body])).toEqual([
    ['GET', '/api/me', ''],
    ['DELETE', '/api/people/bob', ''],
  ]);
});

test('too many or too large headers are refused in their own words', async ({ world }) => {
  const many = Array.from({ length: 150 }, (_, index) => `X-${index}: y`);
  expect(await statusOf(world, post(many))).toBe(431);
  const large = await sendRaw(world.port('password'), post([`X-Large: ${'y'.repeat(20_000)}`]));
  expect([large.answers[0]?.status, large.closed]).toEqual([431, true]);
});

/** Whether a client that waits for 100 sends the body of a refused request is its own affair: nobody may guess. */
test('a refused request whose body was waited for ends the connection', async ({ world }) => {
  const { answers, closed } = await sendRaw(
    world.port('password'),
    rawRequest('POST /api/sql HTTP/1.1', ['Expect: 100-continue', 'Content-Length: 20']),
  );
  expect([answers[0]?.status, closed]).toEqual([401, true]);
});

test('an expectation other than 100-continue cannot be met, and that one is', async ({ world }) => {
  expect(await statusOf(world, post(['Expect: magic']))).toBe(417);
  expect(await statusOf(world, post(['Expect: 100-continue']))).toBe(200);
});

/** A line of level 50 wakes somebody: nobody from outside may write one at will. */
test('a client that leaves in the middle of its body writes no error', async ({ world }) => {
  world.lines.length = 0;
  for (const path of ['/api/login', '/api/sql', '/api/keys']) {
    for (const length of ['Content-Length: 100', 'Content-Length: 70000', 'Transfer-Encoding: chunked']) {
      const socket = connect(world.port('password'), '127.0.0.1').on('error', () => {});
      const before = world.lines.length;
      socket.write(rawRequest(`POST ${path} HTTP/1.1`, [AUTHORIZATION, JSON_TYPE, length], '5\r\n'));
      await once(socket, 'connect');
      await statusOf(world, rawRequest('GET /api/livez HTTP/1.1'));
      socket.resetAndDestroy();
      await eventually(() => expect(world.lines.length).toBeGreaterThan(before + 1));
    }
  }
  expect(world.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});

/** imm-128 */
test('headers, queries and bodies that name members of every object are only text', async ({ world }) => {
  const login = JSON.parse('{"__proto__": {"username": "alice"}, "username": "alice", "constructor": 1}') as object;
  const response = await fetch(`${world.origins['password']}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(login),
  });
  expect(response.status).toBe(422);
  expect(await statusOf(world, post(['__proto__: x', 'constructor: y'], BODY, 'POST /api/sql?__proto__[a]=b HTTP/1.1'))).toBe(
    200,
  );
  expect(await statusOf(world, rawRequest('GET /__proto__ HTTP/1.1'))).toBe(404);
  expect(({} as Record<string, unknown>)['username']).toBeUndefined();
});

/** imm-129 */
test('log lines are one JSON object each, and hold nothing that the client wrote', async ({ world }) => {
  world.lines.length = 0;
  expect(await statusOf(world, post(['User-Agent: \x1b[31mred']))).toBe(400);
  await statusOf(
    world,
    post(['User-Agent: {"level":31mred}', 'Referer: {"level":60}'], BODY, 'POST /api/sql?token=secret-in-query HTTP/1.1'),
  );
  await statusOf(world, rawRequest('GET /api/people/%0a%1b[31m HTTP/1.1', [AUTHORIZATION]));
  const line = await eventually(() => {
    const found = world.lines.find(
      ({ msg, route, principalId }) => msg === 'request' && route === '/api/sql' && principalId !== undefined,
    );
    expect(found).toBeDefined();
    return found;
  });
  expect(JSON.stringify(world.lines)).not.toMatch(/secret-in-query|\\u001b|31m/);
  expect(Object.keys(line ?? {}).toSorted()).toEqual([
    'client',
    'durationMs',
    'level',
    'listener',
    'method',
    'msg',
    'pid',
    'principalId',
    'requestId',
    'route',
    'service',
    'status',
    'time',
  ]);
});
