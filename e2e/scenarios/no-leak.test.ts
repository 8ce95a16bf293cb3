import { expect } from 'vitest';

import { makePerson, sql } from '../harness/client.ts';
import { verifies } from '../verifies.ts';

/** What a request may leave behind on its connection. */
const LITTER = [
  "set application_name = 'litter'",
  "set search_path = 'pg_catalog'",
  "set statement_timeout = '1h'",
  "select set_config('litter.of', 'a', false)",
  'create temporary table litter (id int)',
  'select pg_advisory_lock(4711)',
  'select pg_advisory_lock_shared(4712)',
  'prepare litter as select 1',
  'listen litter',
  'begin; select 1',
  'begin; set transaction read only; select 1',
  'begin; select 1/0',
];

/** Nothing of it may be seen by the next request on any connection. */
const PRISTINE = `
  select current_setting('application_name') is distinct from 'litter' as name,
         current_setting('search_path') as path,
         current_setting('statement_timeout') is distinct from '1h' as timeout,
         coalesce(current_setting('litter.of', true), '') as own,
         to_regclass('pg_temp.litter') is null as tables,
         (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
         (select count(*) from pg_prepared_statements where name = 'litter') as prepared,
         (select count(*) from pg_listening_channels()) as channels`;
/** A transaction that was open already would have begun before its statement. */
const OUTSIDE_A_TRANSACTION = 'select now() = statement_timestamp()';
const PRISTINE_ROW = [true, '"$user", public', true, '', true, '0', '0', '0'];

verifies('sql:no-leak', 'two people who take turns find nothing of each other, nor of themselves', async (mesh) => {
  await using anna = await makePerson(mesh, 'writer');
  await using berta = await makePerson(mesh, 'writer');
  const [origin] = mesh.edges;
  for (const litter of LITTER) {
    // Often enough to meet every pooled connection of every replica.
    for (let turn = 0; turn < 6; turn += 1) {
      await sql(origin, anna.basic, litter);
      for (const person of [berta, anna]) {
        const [entry] = await sql(origin, person.basic, PRISTINE);
        expect(entry?.rows, `${litter}, seen by ${person === anna ? 'the same' : 'the other'}`).toEqual([PRISTINE_ROW]);
        const [outside] = await sql(origin, person.basic, OUTSIDE_A_TRANSACTION);
        expect(outside?.rows, litter).toEqual([[true]]);
      }
    }
  }
});

verifies('sql:no-leak', 'a lock of one person does not outlive the request, so that another can take it', async (mesh) => {
  await using anna = await makePerson(mesh, 'writer');
  await using berta = await makePerson(mesh, 'writer');
  const [origin] = mesh.edges;
  for (let turn = 0; turn < 4; turn += 1) {
    for (const person of [anna, berta]) {
      const [entry] = await sql(origin, person.basic, 'select pg_try_advisory_lock(4713)');
      expect(entry?.rows).toEqual([[true]]);
    }
  }
});

verifies('sql:no-leak', 'many at once each get their own answer', async (mesh) => {
  await using anna = await makePerson(mesh, 'reader');
  await using berta = await makePerson(mesh, 'reader');
  const ask = async (index: number): Promise<void> => {
    const person = index % 2 === 0 ? anna : berta;
    const origin = mesh.edges[index % mesh.edges.length] ?? '';
    const [entry] = await sql(origin, person.basic, `select current_user, ${index} from pg_sleep(${(index % 5) / 100})`);
    expect(entry?.rows).toEqual([[person.name, String(index)]]);
  };
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: 8 }, (_, index) => ask(round * 8 + index)));
  }
});
