/** Subscriptions to any query: when something that it reads has changed it is run again, and the difference is told. */
import type { Difference, Snapshot } from '../domain/changes-state.ts';
import { CountedRows, readSnapshot } from '../domain/changes-state.ts';
import type { Column, SqlError } from '../domain/entries.ts';
import type { Asking, Question } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import type { DescribedQuery } from './changes-rows.pg.ts';
import { readRows } from './changes-rows.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';

/** The snapshot of the transaction, and a place of the log before it. */
export const WHERE_WE_ARE: Question = [
  `SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0'::pg_catalog.pg_lsn)::pg_catalog.text`,
];

/**
 * What a transaction has read is what it has locked: views, tables behind functions and policies among them. Below a
 * table there may be others, which were left out of this plan.
 */
const READ_TABLES: Question = [
  `WITH RECURSIVE locked(oid) AS (
     SELECT l.relation FROM pg_locks l
      WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
        AND l.database IN ((SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), 0)
     UNION SELECT i.inhrelid FROM locked JOIN pg_inherits i ON i.inhparent = locked.oid)
   SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind, c.relpersistence, n.nspname = 'pg_catalog'
     FROM locked JOIN pg_class c ON c.oid = locked.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v') AND n.nspname <> 'pg_toast'
      AND NOT (n.nspname = 'pg_catalog' AND c.relname IN ('pg_locks', 'pg_database', 'pg_inherits', 'pg_class', 'pg_namespace'))`,
];

export interface RequeryOptions {
  readonly query: DescribedQuery;
  readonly describeRows: DescribeRows;
  /** Bytes of rows that may be held. */
  readonly bytesMax: number;
  readonly tooLarge: SqlError;
  /** Rejects if the query would cost too much by now. Asked in the transaction that is to run it. */
  readonly estimate: (asking: Asking) => Promise<void>;
  /** Hears the rows of one run, and throws when they are too many. */
  readonly newCount: () => (row: Buffer) => void;
}

export interface Evaluated {
  readonly lsn: bigint;
  readonly snapshot: Snapshot;
  /** What the query reads, as the log names it. */
  readonly tables: ReadonlySet<string>;
  /** It reads something of which the log does not tell. */
  readonly isBlind: boolean;
  readonly apply: () => Difference[];
}

export class RequeryRows {
  readonly #options: RequeryOptions;
  #rows = new CountedRows();

  constructor(options: RequeryOptions) {
    this.#options = options;
  }

  get columns(): readonly Column[] {
    return this.#options.query.columns;
  }

  get bytes(): number {
    return this.#rows.bytes;
  }

  /** Nothing is taken note of until the answer is applied. */
  async evaluate(asking: Asking): Promise<Evaluated> {
    const { query, describeRows, bytesMax, tooLarge, estimate, newCount } = this.#options;
    const next = new CountedRows();
    const count = newCount();
    await asking.ask(['BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY']);
    try {
      // What a parallel worker has locked is not known any more when the query has ended.
      const [[snapshot, lsn] = []] = await asking.ask(['SET LOCAL max_parallel_workers_per_gather TO 0'], WHERE_WE_ARE);
      await estimate(asking);
      await readRows(asking, query, [], describeRows, {
        ownColumns: 0,
        row: (_, row) => {
          count(row);
          next.add(row);
          // The rows from before are still there.
          if (next.bytes + this.#rows.bytes > bytesMax) throw new QueryFailure(tooLarge);
          return undefined;
        },
      });
      const read = await asking.ask(['SET LOCAL search_path TO pg_catalog, pg_temp'], READ_TABLES);
      const isTold = ([, kind, persistence, isCatalog]: (string | null)[]): boolean =>
        isCatalog !== 't' && ((kind === 'r' && persistence === 'p') || kind === 'p' || kind === 'v');
      return {
        lsn: BigInt(lsn ?? '0'),
        snapshot: readSnapshot(snapshot ?? ''),
        tables: new Set(read.filter(([, kind, , isCatalog]) => kind !== 'v' && isCatalog !== 't').map(([name]) => name ?? '')),
        isBlind: read.some((row) => !isTold(row)),
        apply: () => {
          const told = this.#rows.differenceTo(next, BigInt(lsn ?? '0'));
          this.#rows = next;
          return told;
        },
      };
    } finally {
      await asking.command('ROLLBACK');
    }
  }
}
