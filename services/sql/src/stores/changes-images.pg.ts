/**
 * Subscriptions to rows of one table, exact: each changed row is taken from the log, judged by the policies of the table, and
 * only then shown to the caller's own expressions.
 */
import { strict as assert } from 'node:assert';
import { z } from 'zod';

import type { Named, PlainQuery } from '../domain/changes-query.ts';
import {
  arrayLiteral,
  imageQuery,
  largeValuesQuery,
  readNamed,
  readPlainQuery,
  rowLiteral,
  snapshotQuery,
  visibilityQuery,
} from '../domain/changes-query.ts';
import type { Difference } from '../domain/changes-state.ts';
import { KeyedRows } from '../domain/changes-state.ts';
import type { ChangedRow } from '../domain/changes-text.ts';
import { readChange, unchanged } from '../domain/changes-text.ts';
import type { Column, SqlError } from '../domain/entries.ts';
import type { Asking, Question } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import type { DescribedQuery } from './changes-rows.pg.ts';
import { describe, readRows } from './changes-rows.pg.ts';
import type { TableFacts, TableRow } from './changes-table.pg.ts';
import { askForFacts, readFacts, SCHEMAS } from './changes-table.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';

/** A line of the log that is still to be shown. */
export interface LoggedLine {
  readonly lsn: bigint;
  readonly line: Buffer;
}

const tableChanged: SqlError = {
  message: 'the table is not what it was when the subscription began',
  code: '55000',
  hint: 'Subscribe again for a snapshot.',
};
const readOtherwise: SqlError = {
  message: 'array_nulls or xmloption is not what it was when the subscription began',
  code: '55000',
  hint: 'Subscribe again for a snapshot.',
};
const unjudged: SqlError = {
  message: 'a changed row could not be judged by the policies of the table',
  code: '55000',
  hint: 'Subscribe again for a snapshot.',
};

/** Only these words have nothing of a row in them. */
const TOLD = new Set(['57014', '57P01', '08006']);

/** What the text of a policy, and of a row in the log, is read by is not the caller's to choose; the rest is as the log is written. */
const OUR_SETTINGS: Question = [
  `SELECT ${Object.entries({
    search_path: 'pg_catalog, pg_temp',
    DateStyle: 'ISO, MDY',
    IntervalStyle: 'postgres',
    TimeZone: 'UTC',
    extra_float_digits: '1',
    bytea_output: 'hex',
    array_nulls: 'on',
    transform_null_equals: 'off',
    xmloption: 'content',
  })
    .map(([name, value]) => `pg_catalog.set_config('${name}', '${value}', true)`)
    .join(', ')}`,
];

/** Values of the log meet the caller's expressions under the caller's settings, of which these would make other values of them. */
const READING = "pg_catalog.concat_ws(' ', pg_catalog.current_setting('array_nulls'), pg_catalog.current_setting('xmloption'))";
const READ_AS_LOGGED = 'on content';

export interface ImagesOptions {
  readonly query: string;
  readonly describeRows: DescribeRows;
}

/** Undefined if the query is not one whose rows can be told from changed rows alone. */
export async function prepareImages(asking: Asking, options: ImagesOptions): Promise<ImageRows | undefined> {
  const plain = readPlainQuery(options.query);
  if (plain === undefined) return undefined;
  await asking.ask(['BEGIN READ ONLY']);
  try {
    return await prepare(asking, plain, options);
  } finally {
    await asking.command('ROLLBACK');
  }
}

async function prepare(
  asking: Asking,
  plain: PlainQuery,
  { query, describeRows }: ImagesOptions,
): Promise<ImageRows | undefined> {
  // The query's own error, if it has one, is the caller's to see.
  const original = await describe(asking, query);
  const named = readNamed(plain);
  if (named === undefined || original.columns.length === 0) return undefined;
  try {
    const [plan] = await asking.ask([`EXPLAIN (VERBOSE, FORMAT JSON) ${query}`]);
    if (!isScan(plan?.[0] ?? '')) return undefined;
    const [[oid, reading] = []] = await asking.ask(tableOf(plain));
    if (oid === undefined || oid === null || reading !== READ_AS_LOGGED) return undefined;
    const [, told] = await asking.ask(['SAVEPOINT own'], OUR_SETTINGS, askForFacts(oid, named), ['ROLLBACK TO own']);
    const facts = readFacts(told?.[0] ?? '');
    if (!facts.isSuited || named.columns.some((column) => !facts.table.columns.includes(column))) return undefined;
    const none = ['{}', ...facts.table.key.map(() => '{}')];
    await asking.ask(OUR_SETTINGS, [visibilityQuery(facts.table, facts.condition), none], ['ROLLBACK TO own']);
    const snapshot = await describe(asking, snapshotQuery(plain, facts.table));
    const image = await describe(asking, imageQuery(plain, facts.table));
    if (!isSame(snapshot.columns.slice(1), original.columns) || !isSame(image.columns.slice(1), original.columns))
      return undefined;
    // The right to read the key is needed for it to be told.
    await asking.ask([`SELECT FROM (${snapshot.text}) AS q LIMIT 0`]);
    return new ImageRows({ query, plain, oid, named, facts, snapshot, image, describeRows });
  } catch (error) {
    if (!(error instanceof QueryFailure) || TOLD.has(error.error.code)) throw error;
    return undefined;
  }
}

const tableOf = ({ table }: PlainQuery): Question => [
  `SELECT pg_catalog.to_regclass($1)::pg_catalog.oid, ${READING}, ${SCHEMAS}`,
  [table],
];

const isSame = (one: readonly Column[], other: readonly Column[]): boolean =>
  one.length === other.length && one.every(({ name, oid }, index) => name === other[index]?.name && oid === other[index]?.oid);

const SCANS = new Set([
  'Seq Scan',
  'Index Scan',
  'Index Only Scan',
  'Bitmap Heap Scan',
  'Bitmap Index Scan',
  'BitmapAnd',
  'BitmapOr',
  'Gather',
]);

const Plan = z.looseObject({
  'Node Type': z.string(),
  Plans: z.array(z.unknown()).default([]),
});
const Explained = z.tuple([z.looseObject({ Plan: z.unknown() })]);

/** Whether the server reads one table and does nothing else. */
function isScan(text: string): boolean {
  const walk = (node: unknown): boolean => {
    const { 'Node Type': type, Plans: plans } = Plan.parse(node);
    return SCANS.has(type) && plans.every(walk);
  };
  const explained = Explained.safeParse(JSON.parse(text));
  return explained.success && walk(explained.data[0].Plan);
}

interface Prepared {
  readonly query: string;
  readonly plain: PlainQuery;
  readonly oid: string;
  readonly named: Named;
  readonly facts: TableFacts;
  readonly snapshot: DescribedQuery;
  readonly image: DescribedQuery;
  readonly describeRows: DescribeRows;
}

/** One step of a change: a row of the table with this key is now that one, or is gone. */
interface Op {
  readonly lsn: bigint;
  readonly key: readonly (string | null)[];
  row: Map<string, string | null> | undefined;
  /** Columns that the log does not tell. */
  readonly missing: readonly string[];
  /** It is a row of the same key as before, as far as the log tells. */
  readonly isUpdate?: boolean;
}

type Step = Op | { readonly lsn: bigint; readonly key: undefined };

export class ImageRows {
  readonly #prepared: Prepared;
  readonly #rows = new KeyedRows();
  /** As they were when the table was last looked at. */
  #row: TableRow;
  /** The rows were found to be stored elsewhere, between two looks: if no TRUNCATE is told from there, they were written anew. */
  #moves: readonly { readonly from: bigint; readonly to: bigint }[] = [];
  /**
   * The table's row of the catalog, or its key's, is a new one although it looks the same; it may have looked different in
   * between: until the log has been told this far, changed rows may lack their old keys.
   */
  #alteredAt = 0n;

  constructor(prepared: Prepared) {
    this.#prepared = prepared;
    this.#row = prepared.facts.row;
  }

  get tables(): ReadonlySet<string> {
    return new Set([this.#prepared.facts.logged]);
  }

  get columns(): readonly Column[] {
    return this.#prepared.snapshot.columns.slice(1);
  }

  get bytes(): number {
    return this.#rows.bytes;
  }

  /** In a transaction whose snapshot is known: what is there at the start. */
  async start(asking: Asking, told: (row: Buffer) => Promise<void> | undefined): Promise<void> {
    const { row: found } = await this.#look(asking);
    // The snapshot is older than the place.
    this.#row = { ...found, place: 0n };
    await asking.ask(['ROLLBACK TO own']);
    const { snapshot, describeRows } = this.#prepared;
    await readRows(asking, snapshot, [], describeRows, {
      ownColumns: 1,
      row: ([key], row) => {
        this.#rows.put(0n, key ?? '', row);
        return told(row);
      },
    });
  }

  /** Whether the caller may still read what is subscribed to, and what the policies demand; leaves our settings. */
  async #look(asking: Asking): Promise<TableFacts> {
    const { query, plain, oid, named, facts } = this.#prepared;
    const [[found, reading] = [], , [told] = []] = await asking.ask(
      // Nothing is read, but the rights are checked, and the table cannot be altered until the transaction ends.
      [`SELECT FROM (${query}) AS q LIMIT 0`],
      tableOf(plain),
      ['SAVEPOINT own'],
      OUR_SETTINGS,
      askForFacts(oid, named),
    );
    if (found !== oid || told === undefined || told === null) throw new QueryFailure(tableChanged);
    if (reading !== READ_AS_LOGGED) throw new QueryFailure(readOtherwise);
    const now = readFacts(told);
    const isAsBefore = now.definition === facts.definition && facts.labels.values().every((label) => now.labels.has(label));
    if (!isAsBefore) throw new QueryFailure(tableChanged);
    return now;
  }

  /** The same, later on. */
  async #check(asking: Asking): Promise<TableFacts> {
    const now = await this.#look(asking);
    const { row } = now;
    if (row.version !== this.#row.version) this.#alteredAt = row.place;
    if (row.storage !== this.#row.storage) this.#moves = [...this.#moves, { from: this.#row.place, to: row.place }];
    this.#row = row;
    return now;
  }

  /** Whether the log is to tell yet what has become of the table. */
  get isInDoubt(): boolean {
    return this.#moves.length > 0;
  }

  /** Everything before this place of the log has been told. Throws if the rows were written anew without a word in it. */
  settle(reached: bigint): void {
    if (this.#moves.some(({ to }) => reached >= to)) throw new QueryFailure(tableChanged);
  }

  /** Throws if the caller may not read any more what is subscribed to. */
  async check(asking: Asking): Promise<void> {
    await this.#inTransaction(asking, async () => {
      await this.#check(asking);
    });
  }

  /** What these changes come to; nothing is taken note of until the answer is called. */
  async evaluate(asking: Asking, lines: readonly LoggedLine[]): Promise<() => Difference[]> {
    return this.#inTransaction(asking, async () => {
      const facts = await this.#check(asking);
      const steps = lines.flatMap((logged) => this.#read(logged));
      const ops = steps.filter((step) => step.key !== undefined);
      // A value of a later moment would have the row of this one judged by it.
      if (ops.some(({ missing }) => missing.some((column) => facts.judgedBy.has(column)))) throw new QueryFailure(unjudged);
      if (ops.some(({ missing }) => missing.length > 0)) await this.#fill(asking, ops);
      const judged = await this.#judge(asking, ops, facts.condition);
      await asking.ask(['ROLLBACK TO own']);
      const shown = await this.#show(asking, ops, judged);
      return () => {
        let index = 0;
        return steps.flatMap(({ lsn, key }) => {
          if (key === undefined) {
            // The check has seen it already: it waits for the lock of who truncates.
            this.#moves = this.#moves.filter(({ from, to }) => lsn <= from || lsn > to);
            return this.#rows.clear(lsn);
          }
          const at = index++;
          const found = judged[at];
          // It may be a row that was shown by another key; before a TRUNCATE that is still to come, none stays.
          const isOdd = ops[at]?.isUpdate === true && found !== undefined && !this.#rows.has(found.key);
          if (isOdd && lsn <= this.#alteredAt && this.#moves.length === 0) throw new QueryFailure(tableChanged);
          // What could not be read again is gone or hidden by now.
          return found === undefined ? [] : this.#rows.put(lsn, found.key, shown.get(at));
        });
      };
    });
  }

  async #inTransaction<T>(asking: Asking, work: () => Promise<T>): Promise<T> {
    await asking.ask(['BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY']);
    try {
      return await work();
    } finally {
      await asking.command('ROLLBACK');
    }
  }

  #read({ lsn, line }: LoggedLine): Step[] {
    const change = readChange(line.toString('utf8'));
    switch (change.kind) {
      case 'insert':
        return [this.#op(lsn, change.row, undefined)];
      case 'update': {
        const put = this.#op(lsn, change.row, change.old);
        const before = change.old === undefined ? put.key : this.#keyOf(change.old);
        const isMoved = before.some((value, index) => value !== put.key[index]);
        if (!isMoved) return [{ ...put, isUpdate: true }];
        return [{ lsn, key: before, row: undefined, missing: [] }, put];
      }
      case 'delete':
        if (change.old === undefined) throw new QueryFailure(tableChanged);
        return [{ lsn, key: this.#keyOf(change.old), row: undefined, missing: [] }];
      case 'truncate':
        return [{ lsn, key: undefined }];
    }
  }

  #keyOf(row: ChangedRow): (string | null)[] {
    return this.#prepared.facts.table.key.map(({ name }) => {
      const value = row.get(name);
      if (typeof value !== 'string') throw new QueryFailure(tableChanged);
      return value;
    });
  }

  #op(lsn: bigint, logged: ChangedRow, old: ChangedRow | undefined): Op {
    const { columns } = this.#prepared.facts.table;
    if (logged.size !== columns.length) throw new QueryFailure(tableChanged);
    const row = new Map<string, string | null>();
    const missing: string[] = [];
    for (const column of columns) {
      const value = logged.get(column);
      if (value === undefined) throw new QueryFailure(tableChanged);
      const known = value === unchanged ? old?.get(column) : value;
      if (known === undefined || known === unchanged) missing.push(column);
      else row.set(column, known);
    }
    return { lsn, key: this.#keyOf(logged), row, missing };
  }

  /** Large values that were left as they were are read again, as the caller. */
  async #fill(asking: Asking, ops: readonly Op[]): Promise<void> {
    const { table } = this.#prepared.facts;
    const wanted = ops.filter(({ missing }) => missing.length > 0);
    const columns = [...new Set(wanted.flatMap(({ missing }) => missing))];
    const keys = table.key.map((_, index) => arrayLiteral(wanted.map(({ key }) => key[index] ?? null)));
    const found = await asking.ask([largeValuesQuery(table, columns), keys]);
    const byOrdinal = new Map(found.map(([ordinal, ...values]) => [Number(ordinal), values]));
    for (const [index, op] of wanted.entries()) {
      const values = byOrdinal.get(index + 1);
      if (values === undefined) op.row = undefined;
      else for (const column of op.missing) op.row?.set(column, values[columns.indexOf(column)] ?? null);
    }
  }

  async #judge(asking: Asking, ops: readonly Op[], condition: string | undefined): Promise<Judged[]> {
    if (ops.length === 0) return [];
    const { table } = this.#prepared.facts;
    // Where nothing is demanded of a row, it is enough that there is one.
    const literalOf = (row: NonNullable<Op['row']>): string => (condition === undefined ? '' : this.#literal(row));
    const literals = arrayLiteral(ops.map(({ row }) => (row === undefined ? null : literalOf(row))));
    const keys = table.key.map((_, index) => arrayLiteral(ops.map(({ key }) => key[index] ?? null)));
    const rows = await asking.ask([visibilityQuery(table, condition), [literals, ...keys]]).catch((error: unknown) => {
      throw error instanceof QueryFailure && !TOLD.has(error.error.code) ? new QueryFailure(unjudged) : error;
    });
    assert(rows.length === ops.length);
    return rows.map(([key, isShown]) => ({ key: key ?? '', isShown: isShown === 't' }));
  }

  #literal(row: ReadonlyMap<string, string | null>): string {
    return rowLiteral(this.#prepared.facts.table.columns.map((column) => row.get(column) ?? null));
  }

  /** By the index of the step: what the query makes of the rows that may be seen. */
  async #show(asking: Asking, ops: readonly Op[], judged: readonly Judged[]): Promise<ReadonlyMap<number, Buffer>> {
    const visible = ops.flatMap(({ row }, index) =>
      row !== undefined && judged[index]?.isShown === true ? [{ row, index }] : [],
    );
    const shown = new Map<number, Buffer>();
    if (visible.length === 0) return shown;
    const literals = arrayLiteral(visible.map(({ row }) => this.#literal(row)));
    const { image, describeRows } = this.#prepared;
    await readRows(asking, image, [literals], describeRows, {
      ownColumns: 1,
      row: ([ordinal], row) => {
        const found = visible[Number(ordinal) - 1];
        if (found !== undefined) shown.set(found.index, row);
        return undefined;
      },
    });
    return shown;
  }
}

interface Judged {
  readonly key: string;
  readonly isShown: boolean;
}
