/** imm-055: what is asked while the database is away is refused, never let through, and works again by itself. */
import { eventually } from '@postern/testkit/eventually';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { expect } from 'vitest';

import { ADMIN_PASSWORD, worldTest } from './world.ts';

interface Relay extends AsyncDisposable {
  readonly url: string;
  /** `cut` breaks and refuses connections, `hang` lets nothing through. */
  mode: 'pass' | 'cut' | 'hang';
}

/** A way to the database that can be interrupted. */
async function relayTo(url: string): Promise<Relay> {
  const target = new URL(url);
  const pairs = new Set<readonly [Socket, Socket]>();
  let mode: Relay['mode'] = 'pass';
  const server = createServer((near) => {
    if (mode === 'cut') return void near.destroy();
    const far = connect(Number(target.port || 5_432), target.hostname);
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [far, near] as const]) {
      from.on('data', (bytes) => mode !== 'hang' && to.write(bytes));
      from.on('error', () => {});
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const own = new URL(url);
  own.hostname = '127.0.0.1';
  own.port = String((server.address() as AddressInfo).port);
  const cut = (): void => {
    for (const [near, far] of pairs) [near, far].map((socket) => socket.destroy());
  };
  return {
    url: own.href,
    get mode() {
      return mode;
    },
    set mode(next) {
      mode = next;
      if (next === 'cut') cut();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => void server.close(resolve));
      cut();
      await closed;
    },
  };
}

worldTest('while the database is cut off every question is answered UNAVAILABLE, and afterwards as before', async ({ world }) => {
  await using relay = await relayTo(world.cluster.url);
  await using replica = await world.start({ databaseUrl: relay.url });
  const credentials = { name: world.name('admin'), password: ADMIN_PASSWORD };
  const principal = await world.session.verifyPassword(credentials);
  const { assertion } = await world.edge.mint({ principal, audience: 'sql' });
  world.secrets.add(assertion);
  const asAdmin = world.as(replica, principal);
  expect((await asAdmin('GET', '/api/people')).status).toBe(200);
  const sealTo = { kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo' } as const;
  relay.mode = 'cut';
  const questions = [
    () => world.session.verifyPassword(credentials),
    () => world.session.verifyPassword({ ...credentials, password: 'a wrong one' }),
    () => world.edge.verifyApiKey({ key: `pst_abcdefgh_${'a'.repeat(43)}` }),
    () => world.edge.trust({ name: 'mz_system' }),
    () => world.edge.trust({ name: world.name('new') }),
    () =>
      world.edge.admitExternal({
        issuer: 'https://issuer.test',
        subject: 's',
        name: world.name('new'),
        expiresAt: 4_000_000_000,
      }),
    () => world.edge.mint({ principal, audience: 'sql' }),
    () => world.sql.lendDatabaseLogin({ assertion, sealTo }),
  ];
  for (const ask of questions) await expect(ask()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  // Keys are known to every replica and need nobody.
  expect((await world.sql.publishKeys({})).keys).toHaveLength(2);
  relay.mode = 'pass';
  await eventually(() => world.session.verifyPassword(credentials));
  expect((await asAdmin('POST', '/api/people', { name: world.name('after') })).status).toBe(201);
});

worldTest('a database that answers nothing is waited for no longer than the caller waits', async ({ world }) => {
  await using relay = await relayTo(world.cluster.url);
  await using replica = await world.start({ databaseUrl: relay.url });
  const credentials = { name: world.name('admin'), password: ADMIN_PASSWORD };
  await world.session.verifyPassword(credentials);
  relay.mode = 'hang';
  const asked = replica.app.handlers.verifyPassword(credentials, { remainingMs: 300 } as never);
  await expect(asked).rejects.toMatchObject({ code: 'TIMEOUT' });
  relay.mode = 'cut';
  relay.mode = 'pass';
  await eventually(() => world.session.verifyPassword(credentials));
});

worldTest('a connection that the server ends, idle or not, ends nothing else', async ({ world }) => {
  await using _replica = await world.start();
  const credentials = { name: world.name('admin'), password: ADMIN_PASSWORD };
  for (let round = 0; round < 3; round += 1) {
    await world.session.verifyPassword(credentials);
    await world.cluster.sql(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    );
    await eventually(() => world.session.verifyPassword(credentials));
  }
});
