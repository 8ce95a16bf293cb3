import { eventually } from '@postern/testkit/eventually';
import type { CryptoKey, JWTPayload } from 'jose';
import { base64url, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';

import { basic, bearer, edgeTest as base } from './edge-test.ts';
import { errorFields, passwordMessage, startupMessage, talk } from './socket-client.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

interface Issuer extends AsyncDisposable {
  readonly url: string;
  /** Adds a key pair and answers its private half. */
  addKey(kid: string, alg: string): Promise<CryptoKey>;
  readonly keys: Map<string, object>;
  readonly fetches: string[];
  broken: boolean;
  claimedIssuer: string | undefined;
}

async function openIssuer(): Promise<Issuer> {
  const keys = new Map<string, object>();
  const fetches: string[] = [];
  const server = createServer((request, response) => {
    fetches.push(request.url ?? '');
    if (issuer.broken) return void response.writeHead(500).end();
    response.setHeader('content-type', 'application/json');
    if (request.url === '/jwks') return void response.end(JSON.stringify({ keys: [...keys.values()] }));
    response.end(JSON.stringify({ issuer: issuer.claimedIssuer ?? url, jwks_uri: `${url}/jwks` }));
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', listening.resolve);
  await listening.promise;
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer: Issuer = {
    url,
    keys,
    fetches,
    broken: false,
    claimedIssuer: undefined,
    async addKey(kid, alg) {
      const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
      keys.set(kid, { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' });
      return privateKey;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
  return issuer;
}

const test = base
  // oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's needs from the pattern, and this one has none
  .extend('issuer', async ({}, { onCleanup }) => {
    const issuer = await openIssuer();
    onCleanup(() => issuer[Symbol.asyncDispose]());
    return issuer;
  })
  .extend('key', async ({ issuer }) => issuer.addKey('k1', 'ES256'))
  .extend('door', async ({ open, issuer, key: _key }) => open({ issuer: issuer.url, audiences: ['postern', 'other'] }));

const present = (claims: object): JWTPayload => JSON.parse(JSON.stringify(claims)) as JWTPayload;

interface TokenOptions {
  /** `undefined` leaves a claim out. */
  readonly claims?: { readonly [Claim in keyof JWTPayload]?: JWTPayload[Claim] | undefined };
  readonly header?: Record<string, unknown>;
  readonly lifeSeconds?: number;
}

const now = (): number => Math.floor(Date.now() / 1_000);

const token = (
  issuer: Issuer,
  key: CryptoKey,
  { claims = {}, header = {}, lifeSeconds = 60 }: TokenOptions = {},
): Promise<string> =>
  new SignJWT(present({ iss: issuer.url, aud: 'postern', sub: 'alice', exp: now() + lifeSeconds, ...claims }))
    .setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header })
    .sign(key);

async function send(world: World, jwt: string): Promise<[number, string]> {
  const response = await fetch(`${world.origins['oidc']}/api/sql`, { method: 'POST', body: '{}', headers: bearer(jwt) });
  const text = await response.text();
  expect(response.headers.get('www-authenticate')).toBeNull();
  return [response.status, response.status === 200 ? (world.sql.last().principal?.name ?? '') : text];
}

test('a token of the issuer is its holder, and passwords work beside it', async ({ door, issuer, key }) => {
  expect(await send(door, await token(issuer, key))).toEqual([200, 'alice']);
  expect(await send(door, await token(issuer, key, { claims: { aud: ['x', 'other'] } }))).toEqual([200, 'alice']);
  const response = await fetch(`${door.origins['oidc']}/api/sql`, {
    method: 'POST',
    body: '{}',
    headers: basic('alice', PASSWORD),
  });
  expect(response.status).toBe(200);
});

test('auth is told issuer, subject, name, the end, and the groups in one form, or not at all', async ({ door, issuer, key }) => {
  await send(door, await token(issuer, key, { claims: { sub: 's-1', groups: ['B', 'a', 'b', 1] } }));
  await send(door, await token(issuer, key, { claims: { sub: 's-2', groups: 'Ops' } }));
  await send(door, await token(issuer, key, { claims: { sub: 's-3' } }));
  await send(door, await token(issuer, key, { claims: { sub: 's-4', groups: [] } }));
  expect(door.stub.external).toEqual([
    { issuer: issuer.url, subject: 's-1', name: 's-1', groups: ['a', 'b'], expiresAt: expect.any(Number) as number },
    { issuer: issuer.url, subject: 's-2', name: 's-2', groups: ['ops'], expiresAt: expect.any(Number) as number },
    { issuer: issuer.url, subject: 's-3', name: 's-3', expiresAt: expect.any(Number) as number },
    { issuer: issuer.url, subject: 's-4', name: 's-4', groups: [], expiresAt: expect.any(Number) as number },
  ]);
});

test('each denial has its own words, and shows nothing of what was expected', async ({ door, issuer, key }) => {
  const denied = async (options: TokenOptions): Promise<string> => {
    const [status, text] = await send(door, await token(issuer, key, options));
    expect(status).toBe(401);
    expect(text).not.toMatch(/127\.0\.0\.1|postern|other/);
    return text;
  };
  expect(await denied({ claims: { iss: 'https://evil.test' } })).toBe('invalid issuer');
  expect(await denied({ claims: { iss: `${issuer.url}/` } })).toBe('invalid issuer');
  expect(await denied({ claims: { aud: 'stranger' } })).toBe('invalid audience');
  expect(await denied({ claims: { aud: [] } })).toBe('invalid audience');
  expect(await denied({ lifeSeconds: -1 })).toBe('authentication credentials have expired');
  expect(await denied({ claims: { nbf: now() + 60 } })).toBe('failed to validate JWT');
  expect(await denied({ header: { kid: 'unknown' } })).toBe('no matching key found in the JWKS');
  expect(await denied({ header: { kid: '' } })).toBe('missing key ID in JWT header');
  expect(await denied({ claims: { sub: undefined } })).toBe('no matching authentication claim found in the JWT');
  expect(await denied({ claims: { sub: 'x'.repeat(64) } })).toBe('no matching authentication claim found in the JWT');
  expect(await denied({ claims: { sub: 'mz_unknown' } })).toBe('unauthorized');
});

test('auth has the last word on who may log in', async ({ door, issuer, key }) => {
  door.stub.loginDenied = 'role is not allowed to login';
  expect(await send(door, await token(issuer, key))).toEqual([401, 'role is not allowed to login']);
  door.stub.loginDenied = 'something internal';
  expect(await send(door, await token(issuer, key))).toEqual([401, 'wrong user']);
});

/** imm-053 */
test('tokens that prove nothing are refused, whatever they say of themselves', async ({ door, issuer, key }) => {
  const good = await token(issuer, key);
  const [, payload = '', signature = ''] = good.split('.');
  const encode = (value: unknown): string => base64url.encode(JSON.stringify(value));
  const jwk = JSON.stringify(issuer.keys.get('k1'));
  const hmac = (header: string): string => createHmac('sha256', jwk).update(`${header}.${payload}`).digest('base64url');
  const hs256 = encode({ alg: 'HS256', kid: 'k1' });
  const stranger = (await generateKeyPair('ES256')).privateKey;
  const vectors = [
    `${encode({ alg: 'none', kid: 'k1' })}.${payload}.`,
    `${encode({ alg: 'None', kid: 'k1' })}.${payload}.${signature}`,
    `${hs256}.${payload}.${hmac(hs256)}`,
    `${encode({ alg: 'ES256', kid: 'k1' })}.${payload}.${base64url.encode(new Uint8Array(64))}`,
    `${encode({ alg: 'ES256', kid: 'k1' })}.${payload}.`,
    `${encode({ alg: 'ES384', kid: 'k1' })}.${payload}.${signature}`,
    `${encode({ alg: 'RS256', kid: 'k1' })}.${payload}.${signature}`,
    `${encode({ alg: 'ES256', kid: '../../dev/null' })}.${payload}.${signature}`,
    `${encode({ alg: 'ES256', kid: ['k1'] })}.${payload}.${signature}`,
    `${encode({ alg: 'ES256', kid: 'k1', jku: `${issuer.url}/evil` })}.${payload}.${signature}`,
    `${encode({ alg: 'ES256', kid: 'k1', jwk: JSON.parse(jwk) as object })}.${payload}.${signature}`,
    `${encode({ alg: 'ES256', kid: 'k1', crit: ['mystery'], mystery: 1 })}.${payload}.${signature}`,
    `${encode({ kid: 'k1' })}.${payload}.${signature}`,
    `${encode([])}.${payload}.${signature}`,
    `${good}x`,
    `${good}.x.y`,
    good.replace('.', '..'),
    good.slice(0, -2),
    `${good.split('.')[0] ?? ''}.${encode({ iss: issuer.url, aud: 'postern', sub: 'bob', exp: now() + 60 })}.${signature}`,
    await token(issuer, stranger),
    await token(issuer, stranger, {
      header: { jwk: JSON.parse(JSON.stringify(await exportJWK((await generateKeyPair('ES256')).publicKey))) as object },
    }),
    await token(issuer, key, { claims: { exp: undefined } }),
    await token(issuer, key, { claims: { iss: undefined } }),
    await token(issuer, key, { claims: { exp: 'tomorrow' as unknown as number } }),
    'x.y.z',
    '...',
    'opaque',
  ];
  for (const vector of vectors) expect([vector, (await send(door, vector))[0]]).toEqual([vector, 401]);
  expect(issuer.fetches).not.toContain('/evil');
  expect(await send(door, good)).toEqual([200, 'alice']);
});

test('a key that is new is fetched once; unknown ones do not make the edge a hammer', async ({ door, issuer, key }) => {
  await send(door, await token(issuer, key));
  const fresh = await issuer.addKey('k2', 'RS256');
  await eventually(async () =>
    expect(await send(door, await token(issuer, fresh, { header: { kid: 'k2', alg: 'RS256' } }))).toEqual([200, 'alice']),
  );
  issuer.fetches.length = 0;
  const strange = Array.from({ length: 30 }, async (_, index) =>
    send(door, await token(issuer, key, { header: { kid: `none-${index}` } })),
  );
  await Promise.all(strange);
  expect(issuer.fetches.length).toBeLessThanOrEqual(2);
});

/** imm-055: an issuer that is away lets nobody in, and what was known before goes on. */
test('without the issuer new tokens are denied, and known keys serve on', async ({ open, issuer, key }) => {
  await using world = await open({ issuer: issuer.url });
  issuer.broken = true;
  expect(await send(world, await token(issuer, key))).toEqual([401, 'failed to fetch OIDC provider configuration']);
  issuer.broken = false;
  await eventually(async () => expect(await send(world, await token(issuer, key))).toEqual([200, 'alice']));
  issuer.broken = true;
  await eventually(async () =>
    expect(await send(world, await token(issuer, key, { header: { kid: 'other' } }))).toEqual([
      401,
      'failed to fetch OIDC provider configuration',
    ]),
  );
  expect(await send(world, await token(issuer, key, { claims: { sub: 'bob' } }))).toEqual([200, 'bob']);
});

test('a discovery document that names another issuer is not believed', async ({ open, issuer, key }) => {
  issuer.claimedIssuer = 'https://elsewhere.test';
  await using world = await open({ issuer: issuer.url });
  expect(await send(world, await token(issuer, key))).toEqual([401, 'failed to fetch OIDC provider configuration']);
});

test('a listener may have an issuer, an audience and claims of its own', async ({ open, issuer, key }) => {
  const all = { enabled: true, allowed_roles: 'NormalAndInternal' };
  const oidc = { issuer: issuer.url, audience: 'mine', authentication_claim: 'email', group_claim: 'teams' };
  await using world = await open({
    document: { http: { oidc: { addr: '127.0.0.1:0', authenticator_kind: 'Oidc', routes: { base: all }, oidc } } },
  });
  expect(
    await send(world, await token(issuer, key, { claims: { aud: 'mine', email: 'alice@example.org', teams: ['x'] } })),
  ).toEqual([200, 'alice@example.org']);
  expect(await send(world, await token(issuer, key, { claims: { aud: 'mine' } }))).toEqual([
    401,
    'no matching authentication claim found in the JWT',
  ]);
  expect(await send(world, await token(issuer, key, { claims: { email: 'a@b' } }))).toEqual([401, 'invalid audience']);
});

/** Where a protocol has a place for a password only: the token is checked as one, and is good for its own name alone. */
test('a token stands in the place of a password where the protocol has no other, for the user it names', async ({
  door,
  issuer,
  key,
}) => {
  const asked = async (listener: string, user: string, password: string): Promise<[string, string]> => {
    const string = `postgres://${user}:${encodeURIComponent(password)}@edge.test/app`;
    const response = await fetch(`${door.origins[listener]}/sql`, {
      method: 'POST',
      body: '{}',
      headers: { 'neon-connection-string': string },
    });
    await using client = await talk(door, listener, '/v2');
    client.ws.send(Buffer.concat([startupMessage({ user }), passwordMessage(password)]));
    await client.next();
    const answer = await client.next();
    const overWire = answer[0] === 0x45 ? (errorFields(answer)['C'] ?? '') : String(answer);
    const overHttp =
      response.status === 200 ? door.sql.last().principal?.name : ((await response.json()) as { code?: string }).code;
    return [overHttp ?? '', overWire];
  };
  const jwt = await token(issuer, key);
  expect(await asked('oidc', 'alice', jwt)).toEqual(['alice', 'hello alice']);
  expect(await asked('oidc', 'bob', jwt)).toEqual(['28P01', '28P01']);
  expect(await asked('oidc', 'alice', await token(issuer, key, { lifeSeconds: -1 }))).toEqual(['28P01', '28P01']);
  expect(await asked('oidc', 'alice', await token(issuer, key, { claims: { aud: 'stranger' } }))).toEqual(['28P01', '28P01']);
  expect(await asked('oidc', 'alice', PASSWORD)).toEqual(['alice', 'hello alice']);
  expect(await asked('oidc', 'alice', ALICE_KEY)).toEqual(['alice', 'hello alice']);
  // A token is never taken for a password, which it would be counted as.
  expect(door.stub.calls.filter((name) => name === 'authenticate')).toHaveLength(1);
  expect(await asked('password', 'alice', jwt)).toEqual(['28P01', '28P01']);
  await using client = await talk(door, 'oidc', '/api/v1/sql');
  client.ws.send(JSON.stringify({ token: jwt }));
  expect(String(await client.next())).toBe('hello alice');
});
