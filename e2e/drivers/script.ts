/** One script for every driver: what is answered, and how mistakes are told, is written down to be compared. */
import type { Driver } from './driver.ts';

export const TABLES = `
  create table account (
    id int primary key,
    owner text not null constraint owner_is_one_word check (owner !~ ' '),
    balance int not null constraint not_overdrawn check (balance >= 0),
    constraint account_owner_key unique (owner)
  );
  create table entry (account int not null references account, at timestamptz default '2026-01-01Z');
  grant select, insert, update, delete on account, entry to public;`;
export const EMPTY_TABLES = 'truncate account, entry';
export const NO_TABLES = 'drop table if exists entry; drop table if exists account';

/** Mistakes of every kind that PostgreSQL tells details of, and the code of each. */
const MISTAKES: readonly (readonly [string, string])[] = [
  ["insert into account values (1, 'other', 1)", '23505'],
  ["insert into account values (9, 'a b', 1)", '23514'],
  ["insert into account (id, owner) values (9, 'nobody')", '23502'],
  ['insert into entry values (99)', '23503'],
  ["delete from account where owner = 'anna'", '23503'],
  ['select 1 1', '42601'],
  ["select 'é', nocol", '42703'],
  ['select * from nowhere', '42P01'],
  ['select nothing()', '42883'],
  ['select 1/0', '22012'],
  ["select 'x'::int", '22P02'],
  ["select '2026-02-30'::date", '22008'],
  [
    "do $$ begin raise exception 'in words' using detail = 'more', hint = 'less', errcode = 'ZZ999', table = 't', column = 'c', constraint = 'k', schema = 's', datatype = 'd'; end $$",
    'ZZ999',
  ],
  ["do $$ begin execute 'select 1 +'; end $$", '42601'],
];

const ROWS: readonly string[] = [
  'select 1 as a, 2 as b where false',
  'select 1 as a, 2 as a',
  'select from generate_series(1, 2)',
  "update account set balance = balance where owner = 'nobody'",
  'insert into entry values (1) returning *',
  "values (1, null), (2, 'two')",
  'show server_version',
  'explain (costs off) select 1',
  'with changed as (update account set balance = balance + 0 where id = 1 returning id) select * from changed',
];

export interface Line {
  readonly step: string;
  readonly answer?: unknown;
  readonly mistake?: unknown;
}

/** Runs the script in tables that are there and empty, and answers all that the driver said. */
export async function runScript(driver: Driver): Promise<readonly Line[]> {
  const lines: Line[] = [];
  const step = async (name: string, doing: () => Promise<unknown>): Promise<void> => {
    lines.push(
      await doing().then(
        (answer) => ({ step: name, answer }),
        (error: unknown) => ({ step: name, mistake: plainError(error) }),
      ),
    );
  };
  const balances = (): Promise<void> => step('balances', () => driver.readAll());

  await step('create', () =>
    driver.create([
      { id: 1, owner: 'anna', balance: 100 },
      { id: 2, owner: 'berta', balance: 50 },
      { id: 3, owner: 'é漢🦊', balance: 0 },
    ]),
  );
  await step('read', () => driver.read('é漢🦊'));
  await step('read nobody', () => driver.read('nobody'));
  await step('update', () => driver.update('anna', 120));
  await step('update nobody', () => driver.update('nobody', 1));
  await step('remove', () => driver.remove('é漢🦊'));
  await balances();
  await step('transfer', () => driver.transfer({ from: 1, to: 2, amount: 30 }));
  await balances();
  await step('transfer of too much', () => driver.transfer({ from: 1, to: 2, amount: 1_000 }));
  await balances();
  await step('create the same', () =>
    driver.create([
      { id: 4, owner: 'clara', balance: 1 },
      { id: 5, owner: 'anna', balance: 1 },
    ]),
  );
  await balances();
  for (const text of ROWS) await step(text, () => driver.run(text));
  await step('values', () => driver.run('select $1::int + 1 as sum, $2::text as text, $3::bool as bool', [41, "it's", true]));
  for (const [text] of MISTAKES) await step(text, () => driver.run(text));
  await balances();
  return lines;
}

/** Of a run: each mistake of the list, the code it is to be told with, and what was told. */
export const mistakesOf = (lines: readonly Line[]): readonly { text: string; code: string; told: string }[] =>
  MISTAKES.map(([text, code]) => ({ text, code, told: JSON.stringify(lines.find(({ step }) => step === text)?.mistake) ?? '' }));

/** The balances of a run, each time they were read. */
export const balancesOf = (lines: readonly Line[]): readonly unknown[] =>
  lines.filter(({ step }) => step === 'balances').map(({ answer }) => answer);

const TOLD =
  'severity code detail hint position internalPosition internalQuery where schema table column dataType constraint file line routine meta query params'.split(
    ' ',
  );

/** What an error tells, without its class and its stack: those are the driver's own. */
export function plainError(error: unknown): unknown {
  if (Array.isArray(error)) return error.map(plainError);
  if (!(error instanceof Error)) return error;
  const told = Object.entries(error).filter(([name, value]) => TOLD.includes(name) && value !== undefined);
  const nested = Object.fromEntries(told.map(([name, value]) => [name, deepPlain(value)]));
  return { message: error.message, ...nested, ...(error.cause !== undefined && { cause: deepPlain(error.cause) }) };
}

function deepPlain(value: unknown): unknown {
  if (value instanceof Error) return plainError(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, deepPlain(inner)]));
}
