/** The service over a real bus, with real logins. */
import { authService } from '@postern/contracts/auth';
import type { Principal } from '@postern/contracts/common';
import type { FailureOptions } from '@postern/contracts/failure';
import { Failure, isFailure } from '@postern/contracts/failure';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { eventually } from '@postern/testkit/eventually';
import { compactDecrypt, exportJWK, generateKeyPair } from 'jose';
import { expect } from 'vitest';

import { createMappedLogins } from '../src/stores/database-logins.map.ts';
import type { World } from './world.ts';
import { ADMIN_PASSWORD, onServer, worldTest } from './world.ts';

const admin = async (world: World): Promise<Principal> =>
  world.session.verifyPassword({ name: world.name('admin'), password: ADMIN_PASSWORD });

async function lend(
  world: World,
  principal: Principal,
  options: { readonly refused?: boolean } = {},
): Promise<{ dbRole: string; password: string }> {
  const { assertion } = await world.edge.mint({ principal, audience: 'sql' });
  const { publicKey, privateKey } = await generateKeyPair('ECDH-ES', { crv: 'X25519', extractable: true });
  const { x = '' } = await exportJWK(publicKey);
  const { dbRole, sealedPassword } = await world.sql.lendDatabaseLogin({
    assertion,
    sealTo: { kty: 'OKP', crv: 'X25519', x },
    ...options,
  });
  const { plaintext } = await compactDecrypt(sealedPassword, privateKey);
  const password = new TextDecoder().decode(plaintext);
  world.secrets.add(password);
  return { dbRole, password };
}

function loginUrl(world: World, { dbRole, password }: { dbRole: string; password: string }): string {
  const url = new URL(world.cluster.superuserUrl);
  url.username = encodeURIComponent(dbRole);
  url.password = password;
  return url.href;
}

worldTest(
  'the first admin logs in, and their statements run as their own role, in the group admin and nothing else',
  async ({ world }) => {
    await using _replica = await world.start();
    const principal = await admin(world);
    expect(principal).toMatchObject({ kind: 'person', scopes: ['role:admin'], method: 'password', expiresAt: 0 });
    const login = await lend(world, principal);
    await onServer(loginUrl(world, login), async (client) => {
      const { rows } = await client.query(
        `SELECT current_user, session_user, pg_has_role('postern_admin', 'USAGE') AS admin, rolsuper, rolcreaterole, rolcreatedb
       FROM pg_roles WHERE rolname = current_user`,
      );
      expect(rows).toEqual([
        {
          current_user: world.name('admin'),
          session_user: world.name('admin'),
          admin: true,
          rolsuper: false,
          rolcreaterole: false,
          rolcreatedb: false,
        },
      ]);
    });
  },
);

worldTest('a wrong password, an unknown name and a name that cannot be are one answer', async ({ world }) => {
  await using _replica = await world.start();
  const names = [world.name('admin'), 'nobody', 'nul\0', '', 'mz_system', 'x'.repeat(256)];
  for (const name of names) {
    await expect(world.session.verifyPassword({ name, password: 'not the password' })).rejects.toMatchObject({
      code: 'CREDENTIAL_INVALID',
      detail: undefined,
    });
  }
});

worldTest('fifty first uses of a name on two replicas make one person', async ({ world }) => {
  await using _one = await world.start();
  await using _two = await world.start();
  const name = world.name('carol');
  const principals = await Promise.all(Array.from({ length: 50 }, () => world.edge.trust({ name })));
  expect(new Set(principals.map((principal) => principal.id)).size).toBe(1);
  expect(principals[0]).toMatchObject({ name, dbRole: name, kind: 'person', scopes: ['role:writer'], method: 'trusted' });
  expect(await world.cluster.sql('SELECT name FROM auth.people WHERE name = $1', [name])).toHaveLength(1);
  const login = await lend(world, await world.edge.trust({ name }));
  expect(login.dbRole).toBe(name);
});

worldTest('a trusted name that is reserved, or a database role that is not ours, is refused', async ({ world }) => {
  await using _replica = await world.start();
  const foreign = world.name('foreign');
  await world.cluster.sql(`CREATE ROLE "${foreign}" NOLOGIN`);
  try {
    for (const name of [
      'postgres',
      'pg_monitor',
      'postern_admin',
      'app_owner',
      'PUBLIC',
      'mz_unknown',
      'external_x',
      'a b',
      "o'hara",
    ]) {
      await expect(world.edge.trust({ name }), name).rejects.toMatchObject({ code: 'NAME_RESERVED' });
    }
    await expect(world.edge.trust({ name: foreign })).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
    const token = { issuer: 'https://issuer.test', subject: 's', name: foreign, expiresAt: 4_000_000_000 };
    await expect(world.edge.admitExternal(token)).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
    expect(await world.cluster.sql('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [foreign])).toEqual([
      { rolcanlogin: false },
    ]);
  } finally {
    await world.cluster.sql(`DROP ROLE "${foreign}"`);
  }
});

worldTest('an assertion carries the principal to the service it was minted for, and to no other', async ({ world }) => {
  await using _replica = await world.start();
  const principal = await admin(world);
  const { assertion, expiresAt } = await world.edge.mint({ principal, audience: 'sql' });
  world.secrets.add(assertion);
  expect(expiresAt - Date.now() / 1_000).toBeLessThanOrEqual(30);
  const loadKeys = async () => (await world.sql.publishKeys({})).keys;
  expect(await createAssertionVerifier({ audience: 'sql', loadKeys })(assertion)).toEqual(principal);
  for (const audience of ['auth', 'webhook', 'mcp', 'terminal'] as const) {
    await expect(createAssertionVerifier({ audience, loadKeys })(assertion)).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
  }
  const sealTo = { kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo' } as const;
  const forAuth = await world.edge.mint({ principal, audience: 'auth' });
  await expect(world.sql.lendDatabaseLogin({ assertion: forAuth.assertion, sealTo })).rejects.toMatchObject({
    code: 'ASSERTION_INVALID',
  });
  for (const x of ['', 'AAAA', 'A'.repeat(43)]) {
    await expect(world.sql.lendDatabaseLogin({ assertion, sealTo: { ...sealTo, x } }), x).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    });
  }
});

worldTest('all replicas sign with one key and publish the same two', async ({ world }) => {
  const replicas = await Promise.all([world.start(), world.start(), world.start()]);
  const published = await Promise.all(replicas.map(({ app }) => app.handlers.publishKeys({}, { remainingMs: 1_000 } as never)));
  expect(new Set(published.map(({ keys }) => keys.map(({ kid }) => kid).join())).size).toBe(1);
  expect(published[0]?.keys).toHaveLength(2);
});

worldTest(
  'what an assertion is to say is looked up before it is signed, so that lost news of a revocation cannot matter',
  async ({ world }) => {
    await using replica = await world.start();
    const administrator = await admin(world);
    const asAdmin = world.as(replica, administrator);
    const name = world.name('dave');
    expect((await asAdmin('POST', '/api/people', { name, roles: ['writer'] })).status).toBe(201);
    const principal = await world.edge.trust({ name });
    await world.edge.mint({ principal, audience: 'sql' });
    await asAdmin('PATCH', `/api/people/${name}`, { roles: ['reader'] });
    await expect(world.edge.mint({ principal, audience: 'sql' })).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
    const demoted = await world.edge.trust({ name });
    await world.edge.mint({ principal: demoted, audience: 'sql' });
    await asAdmin('PATCH', `/api/people/${name}`, { disabled: true });
    await expect(world.edge.mint({ principal: demoted, audience: 'sql' })).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
    await expect(world.edge.trust({ name })).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
  },
);

worldTest('disabling a person shuts the login, ends its connections and is told; enabling lets in again', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const name = world.name('erin');
  await asAdmin('POST', '/api/people', { name, roles: ['reader'], password: 'erin has a password' });
  const principal = await world.session.verifyPassword({ name, password: 'erin has a password' });
  const url = loginUrl(world, await lend(world, principal));
  await onServer(url, async (client) => {
    await client.query('SELECT 1');
    const { assertion } = await world.edge.mint({ principal, audience: 'sql' });
    world.secrets.add(assertion);
    expect((await asAdmin('PATCH', `/api/people/${name}`, { disabled: true })).status).toBe(200);
    await eventually(() => expect(world.revoked).toContainEqual({ principalId: principal.id }));
    await eventually(async () => {
      await expect(client.query('SELECT 1')).rejects.toThrow();
    });
    const sealTo = { kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo' } as const;
    await expect(world.sql.lendDatabaseLogin({ assertion, sealTo })).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
  });
  await expect(onServer(url, (client) => client.query('SELECT 1'))).rejects.toMatchObject({ code: '28P01' });
  expect(await world.cluster.sql('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [name])).toEqual([
    { rolcanlogin: false },
  ]);
  await expect(world.session.verifyPassword({ name, password: 'erin has a password' })).rejects.toMatchObject({
    code: 'CREDENTIAL_INVALID',
  });
  await asAdmin('PATCH', `/api/people/${name}`, { disabled: false });
  const back = await world.session.verifyPassword({ name, password: 'erin has a password' });
  await onServer(loginUrl(world, await lend(world, back)), (client) => client.query('SELECT 1'));
});

worldTest(
  'removing a person drops the login; one that owns something is kept, shut, and the name stays taken',
  async ({ world }) => {
    await using replica = await world.start();
    const asAdmin = world.as(replica, await admin(world));
    const [tidy, owner] = [world.name('tidy'), world.name('owner')];
    for (const name of [tidy, owner]) await asAdmin('POST', '/api/people', { name, roles: ['writer'] });
    await world.cluster.sql(`CREATE TABLE kept (); ALTER TABLE kept OWNER TO "${owner}"`);
    for (const name of [tidy, owner]) expect((await asAdmin('DELETE', `/api/people/${name}`)).status).toBe(204);
    const left = await world.cluster.sql(
      `SELECT rolname, rolcanlogin, pg_has_role(oid, 'postern_reader', 'MEMBER') AS member FROM pg_roles WHERE rolname = ANY ($1)`,
      [[tidy, owner]],
    );
    expect(left).toEqual([{ rolname: owner, rolcanlogin: false, member: false }]);
    expect((await asAdmin('POST', '/api/people', { name: owner, roles: [] })).body['code']).toBe('PERSON_EXISTS');
    expect((await asAdmin('POST', '/api/people', { name: tidy, roles: [] })).status).toBe(201);
    // The upkeep neither revives nor drops it.
    await replica.app.reconcile();
    expect(await world.cluster.sql('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [owner])).toEqual([
      { rolcanlogin: false },
    ]);
    await world.cluster.sql('DROP TABLE kept');
  },
);

/** `ok`, or the SQLSTATE that a login is refused with. */
const logIn = (world: World, login: { dbRole: string; password: string }, statement = 'SELECT 1'): Promise<unknown> =>
  onServer(loginUrl(world, login), (client) => client.query(statement)).then(
    () => 'ok',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  );

/** One who did this was without SQL for good, and had a login to the database that nobody could end. */
worldTest('a person who breaks their own login is healed, and what they did to it is over', async ({ world }) => {
  await using _replica = await world.start();
  const name = world.name('gina');
  const principal = await world.edge.trust({ name });
  const own = { dbRole: name, password: 'x12345678' };
  const database = new URL(world.cluster.superuserUrl).pathname.slice(1);
  const breakages = [
    [`ALTER ROLE CURRENT_USER PASSWORD '${own.password}'`, '28P01'],
    ['ALTER ROLE CURRENT_USER PASSWORD NULL', '28P01'],
    ["ALTER ROLE CURRENT_USER SET local_preload_libraries = 'nonesuch'", '58P01'],
    [`ALTER ROLE CURRENT_USER IN DATABASE "${database}" SET local_preload_libraries = 'nonesuch'`, '58P01'],
  ] as const;
  for (const [statement, code] of breakages) {
    const login = await lend(world, principal);
    expect(await logIn(world, login, statement)).toBe('ok');
    expect(await logIn(world, await lend(world, principal)), statement).toBe(code);
    const healed = await lend(world, principal, { refused: true });
    expect(healed.password).not.toBe(login.password);
    expect(await logIn(world, healed), statement).toBe('ok');
    expect(await logIn(world, await lend(world, principal))).toBe('ok');
    expect(await logIn(world, own)).toBe('28P01');
    world.clock.offsetMs += 10_000;
  }
});

worldTest('of many who say at once that a login was refused, on two replicas, one has a new secret made', async ({ world }) => {
  await using _one = await world.start();
  await using _two = await world.start();
  const principal = await world.edge.trust({ name: world.name('hugo') });
  const before = await lend(world, principal);
  const loans = await Promise.all(Array.from({ length: 8 }, () => lend(world, principal, { refused: true })));
  const last = await lend(world, principal);
  expect(last.password).not.toBe(before.password);
  expect(await logIn(world, last)).toBe('ok');
  // At most one each: within its pause a replica answers what there is.
  expect(new Set(loans.map(({ password }) => password)).size).toBeLessThanOrEqual(2);
});

worldTest('a refused login of somebody disabled stays shut', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const name = world.name('ines');
  const principal = await world.edge.trust({ name });
  const { assertion } = await world.edge.mint({ principal, audience: 'sql' });
  await asAdmin('PATCH', `/api/people/${name}`, { disabled: true });
  const { publicKey } = await generateKeyPair('ECDH-ES', { crv: 'X25519', extractable: true });
  const { x = '' } = await exportJWK(publicKey);
  const asked = world.sql.lendDatabaseLogin({ assertion, sealTo: { kty: 'OKP', crv: 'X25519', x }, refused: true });
  await expect(asked).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
  expect(await world.cluster.sql('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [name])).toEqual([
    { rolcanlogin: false },
  ]);
});

/** Otherwise whoever once had a person's credential keeps the database after it was taken from them. */
worldTest('a password that somebody gave their own database login ends with the credential it was set by', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const name = world.name('jana');
  await asAdmin('POST', '/api/people', { name, roles: ['reader'], password: 'jana has a password' });
  const principal = (password: string) => world.session.verifyPassword({ name, password });
  const key = await asAdmin('POST', '/api/keys', { name: 'ci', person: name });
  world.secrets.add(String(key.body['key']));
  const own = { dbRole: name, password: 'x12345678' };
  const ends: readonly (readonly [what: string, password: string, end: () => Promise<{ readonly status: number }>])[] = [
    ['revoked key', 'jana has a password', () => asAdmin('DELETE', `/api/keys/${String(key.body['id'])}`)],
    [
      'own change',
      'jana has a password',
      async () =>
        world.as(replica, await principal('jana has a password'))('PATCH', '/api/me', {
          currentPassword: 'jana has a password',
          newPassword: 'jana has another one',
        }),
    ],
    ['reset', 'jana has another one', () => asAdmin('PATCH', `/api/people/${name}`, { password: 'jana has a third one' })],
    [
      'disabled and enabled',
      'jana has a third one',
      async () => {
        await asAdmin('PATCH', `/api/people/${name}`, { disabled: true });
        return asAdmin('PATCH', `/api/people/${name}`, { disabled: false });
      },
    ],
  ];
  for (const [what, password, end] of ends) {
    const login = await lend(world, await principal(password));
    expect(await logIn(world, login, `ALTER ROLE CURRENT_USER PASSWORD '${own.password}'`), what).toBe('ok');
    expect(await logIn(world, own), what).toBe('ok');
    expect((await end()).status, what).toBeLessThan(300);
    expect(await logIn(world, own), what).toBe('28P01');
    expect(await logIn(world, login), what).toBe('28P01');
  }
  expect(await logIn(world, await lend(world, await principal('jana has a third one')))).toBe('ok');
});

worldTest('a connection that was opened beside the mesh ends when the password is changed', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const name = world.name('kim');
  const login = await lend(world, await world.edge.trust({ name }));
  await onServer(loginUrl(world, login), async (client) => {
    await asAdmin('PATCH', `/api/people/${name}`, { password: 'kim has a password' });
    await expect(client.query('SELECT 1')).rejects.toThrow();
  });
});

worldTest('reconciliation mends what a crash between login and person, or a hand, has put apart', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const [lost, changed, orphan] = [world.name('lost'), world.name('changed'), world.name('orphan')];
  for (const name of [lost, changed, orphan]) await asAdmin('POST', '/api/people', { name, roles: ['reader'] });
  await world.cluster.sql(`DROP ROLE "${lost}"`);
  await onServer(world.cluster.url, (client) =>
    client.query(
      `ALTER ROLE "${changed}" NOLOGIN; REVOKE postern_reader FROM "${changed}"; GRANT postern_writer TO "${changed}"`,
    ),
  );
  await world.cluster.sql('DELETE FROM auth.people WHERE name = $1', [orphan]);
  await replica.app.reconcile();
  const roles = await world.cluster.sql(
    `SELECT rolname, rolcanlogin, pg_has_role(oid, 'postern_writer', 'MEMBER') AS writer FROM pg_roles
     WHERE rolname = ANY ($1) ORDER BY rolname`,
    [[lost, changed, orphan]],
  );
  expect(roles).toEqual([
    { rolname: changed, rolcanlogin: true, writer: false },
    { rolname: lost, rolcanlogin: true, writer: false },
  ]);
  for (const name of [lost, changed]) {
    const login = await lend(world, await world.edge.trust({ name }));
    await onServer(loginUrl(world, login), (client) => client.query('SELECT 1'));
  }
});

worldTest('a login that a crash left without a person is taken over by the next attempt', async ({ world }) => {
  await using replica = await world.start();
  const asAdmin = world.as(replica, await admin(world));
  const name = world.name('frank');
  await asAdmin('POST', '/api/people', { name, roles: ['admin'] });
  await world.cluster.sql('DELETE FROM auth.people WHERE name = $1', [name]);
  expect((await asAdmin('POST', '/api/people', { name, roles: ['reader'] })).status).toBe(201);
  const login = await lend(world, await world.edge.trust({ name }));
  await onServer(loginUrl(world, login), async (client) => {
    const { rows } = await client.query("SELECT pg_has_role('postern_admin', 'MEMBER') AS admin");
    expect(rows).toEqual([{ admin: false }]);
  });
});

worldTest('a member of a group has its rights and cannot become it', async ({ world }) => {
  await using _replica = await world.start();
  const login = await lend(world, await world.edge.trust({ name: world.name('grace') }));
  await onServer(loginUrl(world, login), async (client) => {
    const { rows } = await client.query<{ modern: boolean }>(
      "SELECT current_setting('server_version_num')::int >= 160000 AS modern",
    );
    if (rows[0]?.modern === true) await expect(client.query('SET ROLE postern_writer')).rejects.toMatchObject({ code: '42501' });
    for (const text of [
      'SET ROLE postgres',
      'SET SESSION AUTHORIZATION postgres',
      "SELECT set_config('role', 'postgres', false)",
    ]) {
      await expect(client.query(text), text).rejects.toSatisfy((error: { code: string }) =>
        ['42501', '22023'].includes(error.code),
      );
    }
  });
});

worldTest(
  'an external subject is made on first use, linked by issuer and subject, and never to an admin or over another',
  async ({ world }) => {
    await using _replica = await world.start({ externalGroupRoles: { Staff: ['writer'], root: ['admin'] } });
    const token = (given: object) => ({
      issuer: 'https://issuer.test',
      subject: 'one',
      name: world.name('heidi'),
      expiresAt: 4_000_000_000,
      ...given,
    });
    const first = await world.edge.admitExternal(token({}));
    expect(first).toMatchObject({ name: world.name('heidi'), method: 'oidc', scopes: ['role:reader'], expiresAt: 4_000_000_000 });
    // The subject is who they are, whatever name the issuer gives them today.
    expect((await world.edge.admitExternal(token({ name: world.name('renamed') }))).id).toBe(first.id);
    await expect(world.edge.admitExternal(token({ subject: 'two' }))).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
    expect((await world.edge.admitExternal(token({ issuer: 'https://other.test', subject: 'two' }))).id).toBe(first.id);
    await expect(world.edge.admitExternal(token({ subject: 'three', name: world.name('admin') }))).rejects.toMatchObject({
      code: 'LOGIN_DENIED',
    });
    await expect(world.edge.admitExternal(token({ subject: 'four', name: 'mz_system' }))).rejects.toMatchObject({
      code: 'NAME_RESERVED',
    });

    const promoted = await world.edge.admitExternal(token({ groups: ['other', 'staff'] }));
    expect(promoted.scopes).toEqual(['role:reader', 'role:writer']);
    await eventually(() => expect(world.revoked).toContainEqual({ principalId: first.id }));
    expect((await world.edge.admitExternal(token({}))).scopes).toEqual(['role:reader', 'role:writer']);
    expect((await world.edge.admitExternal(token({ groups: [] }))).scopes).toEqual(['role:reader']);
    const fifty = await Promise.all(
      Array.from({ length: 50 }, () => world.edge.admitExternal(token({ subject: 'many', name: world.name('many') }))),
    );
    expect(new Set(fifty.map(({ id }) => id)).size).toBe(1);
  },
);

worldTest(
  'the internal names are principals of their own, which no password, key or page of people can change',
  async ({ world }) => {
    await using replica = await world.start();
    const asAdmin = world.as(replica, await admin(world));
    // Their roles are the cluster's: whoever made them first in this run has them.
    const outcome = await world.edge.trust({ name: 'mz_support' }).catch((error: unknown) => error);
    if (outcome instanceof Error) return expect(outcome).toMatchObject({ code: 'LOGIN_DENIED' });
    expect(outcome).toMatchObject({ kind: 'service', scopes: ['role:admin'], method: 'trusted' });
    expect((await asAdmin('PATCH', '/api/people/mz_support', { password: 'a fine password' })).body['code']).toBe(
      'NAME_RESERVED',
    );
    expect((await asAdmin('POST', '/api/keys', { name: 'k', person: 'mz_support' })).body['code']).toBe('NAME_RESERVED');
    // They do not count as the admin who must stay.
    const last = await asAdmin('PATCH', `/api/people/${world.name('admin')}`, { roles: ['reader'] });
    expect(last.body['code']).toBe('LAST_ADMIN');
  },
);

worldTest('a second start with another first password changes nothing', async ({ world }) => {
  await using one = await world.start();
  const before = await world.cluster.sql('SELECT * FROM auth.people');
  await one.app.prepare({ name: world.name('admin'), password: 'quite another one', apiKey: undefined });
  expect(await world.cluster.sql('SELECT * FROM auth.people')).toEqual(before);
});

worldTest('where all admins are lost, the first admin is made again at the next start', async ({ world }) => {
  await using one = await world.start();
  await world.cluster.sql("UPDATE auth.people SET roles = '{}', disabled = true");
  await one.app.prepare({ name: world.name('admin'), password: 'quite another one', apiKey: undefined });
  world.secrets.add('quite another one');
  const principal = await world.session.verifyPassword({ name: world.name('admin'), password: 'quite another one' });
  expect(principal.scopes).toEqual(['role:admin']);
});

worldTest(
  'of password checks that do not fit, the rest are turned away at once and told when to come back',
  async ({ world }) => {
    await using replica = await world.start();
    const { verifyPassword } = authService.procedures;
    const call = {
      remainingMs: verifyPassword.timeoutMs,
      fail: (code: string, options?: FailureOptions) => new Failure(code, options),
    };
    const attempts = await Promise.allSettled(
      Array.from({ length: 100 }, () =>
        replica.app.handlers.verifyPassword({ name: 'nobody', password: 'some password' }, call as never),
      ),
    );
    const failures = attempts.flatMap((attempt) =>
      attempt.status === 'rejected' && isFailure(attempt.reason) ? [attempt.reason] : [],
    );
    expect(failures).toHaveLength(100);
    const turnedAway = failures.filter(({ code }) => code === 'UNAVAILABLE');
    expect(turnedAway.length).toBeGreaterThan(0);
    expect(turnedAway.length).toBeLessThanOrEqual(100 - 2 - 64);
    expect(turnedAway.every(({ retryAfterSeconds }) => retryAfterSeconds === 1)).toBe(true);
  },
);

worldTest(
  'where logins are mapped none is made, and whoever is not in the map signs in but is lent nothing',
  async ({ world }) => {
    const [mapped, unmapped] = [world.name('mapped'), world.name('unmapped')];
    const logins = createMappedLogins(new Map([[mapped, { dbRole: 'app_reader', password: 'lent to them' }]]));
    await using _replica = await world.start({ logins });
    const principal = await world.edge.trust({ name: mapped });
    expect(principal).toMatchObject({ name: mapped, dbRole: 'app_reader' });
    expect(await lend(world, principal)).toEqual({ dbRole: 'app_reader', password: 'lent to them' });
    await expect(lend(world, await world.edge.trust({ name: unmapped }))).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
    expect(await world.cluster.sql('SELECT FROM pg_roles WHERE rolname = ANY ($1)', [[mapped, unmapped]])).toEqual([]);
  },
);

/** The runbook of the README, step by step. */
worldTest(
  'a mesh whose sealing key is lost is had back: people and passwords stay, logins are given new secrets',
  async ({ world }) => {
    const name = world.name('ivan');
    const first = await world.start();
    const before = await world.edge.trust({ name });
    await first[Symbol.asyncDispose]();
    const [old] = await world.cluster.sql('SELECT id FROM auth.roots');
    for (const step of [
      'DELETE FROM auth.signing_keys',
      'DELETE FROM auth.api_keys',
      'UPDATE auth.people SET sealed_login = NULL',
      'DELETE FROM auth.roots',
    ]) {
      await world.cluster.sql(step);
    }
    await using second = await world.start();
    expect(await world.cluster.sql('SELECT id FROM auth.roots')).not.toEqual([old]);
    expect((await admin(world)).scopes).toEqual(['role:admin']);
    const principal = await world.edge.trust({ name });
    expect(principal.id).toBe(before.id);
    await expect(lend(world, principal)).rejects.toMatchObject({ code: 'LOGIN_DENIED' });
    expect(world.lines.join('')).toContain('the database role of this person is not ours');
    const marks = await world.cluster.sql(
      `SELECT format('COMMENT ON ROLE %I IS %L', p.name, 'postern:' || r.id || ':' || p.id) AS mark FROM auth.people p, auth.roots r`,
    );
    for (const { mark } of marks) await world.cluster.sql(String(mark));
    await second.app.reconcile();
    await onServer(loginUrl(world, await lend(world, principal)), (client) => client.query('SELECT 1'));
  },
);
