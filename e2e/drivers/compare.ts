/** A driver through the edge beside the same driver over TCP, on the same database. */
import { expect } from 'vitest';

import { makePerson } from '../harness/client.ts';
import { doorUrl, query } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import type { Driver, Pair } from './driver.ts';
import type { BuiltInType } from './samples.ts';
import { BUILT_IN_TYPES, WITHOUT_VALUES, questionsAbout } from './samples.ts';
import type { Line } from './script.ts';
import { EMPTY_TABLES, NO_TABLES, TABLES, balancesOf, mistakesOf, plainError, runScript } from './script.ts';

/** The tables of the script, for everybody, until disposed. */
export async function tables(mesh: Mesh): Promise<AsyncDisposable> {
  await query(mesh, `${NO_TABLES}; ${TABLES}`);
  return {
    async [Symbol.asyncDispose]() {
      await query(mesh, NO_TABLES);
    },
  };
}

async function scriptWith(mesh: Mesh, open: () => Driver): Promise<readonly Line[]> {
  await query(mesh, EMPTY_TABLES);
  await using driver = open();
  return await runScript(driver);
}

export async function answersAsOverTcp(mesh: Mesh, pair: Pair): Promise<void> {
  await using person = await makePerson(mesh, 'writer');
  await using _tables = await tables(mesh);
  const direct = await scriptWith(mesh, () => pair.direct(mesh.databaseUrl));
  const through = await scriptWith(mesh, () => pair.through(doorUrl(mesh, person.name, person.password)));
  const shown = (line: Line | undefined): unknown =>
    line?.mistake === undefined || pair.shown === undefined ? line : { ...line, mistake: pair.shown(line.mistake) };
  for (const [index, line] of through.entries()) expect(shown(line), line.step).toEqual(shown(direct[index]));
  expect(through).toHaveLength(direct.length);
  for (const { text, code, told } of mistakesOf(through)) expect(told, text).toContain(code);
  const balances = (anna: number, berta: number): unknown => [
    { id: 1, owner: 'anna', balance: anna },
    { id: 2, owner: 'berta', balance: berta },
  ];
  const after = balances(90, 80);
  expect(balancesOf(through)).toEqual([balances(120, 50), after, after, after, after]);
}

export async function readsTypesAsOverTcp(mesh: Mesh, pair: Pair): Promise<void> {
  await using person = await makePerson(mesh, 'reader');
  await using through = pair.through(doorUrl(mesh, person.name, person.password));
  await using direct = pair.direct(mesh.databaseUrl);
  const answer = (driver: Driver, text: string, values?: readonly string[]): Promise<{ value: unknown } | { mistake: unknown }> =>
    driver.run(text, values).then(
      (value) => ({ value }),
      (error: unknown) => ({ mistake: plainError(error) }),
    );
  const types = await query<BuiltInType>(mesh, BUILT_IN_TYPES);
  let read = 0;
  for (const type of types.filter(({ name }) => !WITHOUT_VALUES.includes(name))) {
    for (const { what, text, values } of questionsAbout(type)) {
      let [expected, got] = await Promise.all([answer(direct, text, values), answer(through, text, values)]);
      if ('mistake' in got && pair.knowsNot?.(got.mistake) === true) {
        const asText = `select (q.*)::text as q from (${text}) q`;
        [expected, got] = await Promise.all([answer(direct, asText, values), answer(through, asText, values)]);
      }
      expect(got, `${what} of ${type.name}`).toEqual(expected);
      if ('value' in got) read += 1;
    }
  }
  // The two vectors have no arrays; a driver with types of its own does not take a few values of those it knows.
  const unread = pair.knowsNot === undefined ? 2 : 12;
  expect(read).toBeGreaterThanOrEqual(3 * (types.length - WITHOUT_VALUES.length) - unread);
}
