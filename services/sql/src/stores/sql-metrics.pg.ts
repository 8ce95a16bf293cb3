/** Pages of metrics, each family a query that is run as whoever reads the page; one that fails is not on it, and the others are. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Counter } from 'prom-client';

import type { Inspector, MetricsBook } from '../domain/inspections.ts';
import type { Clock } from '../domain/ports.ts';
import type { MetricFamily, MetricPage, MetricPages } from '../domain/sql-metrics.ts';
import { columnsFault, FamilyLines } from '../domain/sql-metrics.ts';
import type { Asking } from './asking.pg.ts';
import { QueryFailure, readRow } from './asking.pg.ts';
import { readColumns } from './messages.pg.ts';
import type { Readings } from './readings.pg.ts';
import { extendedQuery } from './wire.pg.ts';

export interface MetricsBookOptions {
  readonly clock: Clock;
  readonly readings: Pick<Readings, 'read'>;
  readonly pages: MetricPages;
  readonly log: Logger;
  readonly metrics: Registry;
}

/** Characters of a whole page; families that come after are not on it. */
const PAGE_CHARACTERS_MAX = 8_388_608;
/** Whoever scrapes does not wait for ever: what would begin later is left out. */
const PAGE_MS_MAX = 15_000;

export function createMetricsBook({ clock, readings, pages, log, metrics }: MetricsBookOptions): MetricsBook {
  const skipped = new Counter({
    name: 'postern_sql_metrics_skipped_total',
    help: 'Families of SQL-defined metrics that were not on a page because their query failed, by page and reason',
    labelNames: ['page', 'family', 'reason'],
    registers: [metrics],
  });
  /** Families as long as the session lasts; answers how many of them it had. */
  const readSome = async (
    families: readonly MetricFamily[],
    asking: Asking,
    { page, inspector, since, out }: Reading,
  ): Promise<number> => {
    let count = 0;
    for (const family of families) {
      count += 1;
      const isLate = clock.now() - since > PAGE_MS_MAX;
      const told: Told = isLate ? { kind: 'skipped', reason: 'page time' } : await readFamily(asking, family);
      if (told.kind === 'lines' && out.text.length + told.text.length <= PAGE_CHARACTERS_MAX) {
        out.text += told.text;
        if (told.leftOut > 0) log.warn({ page, family: family.name, leftOut: told.leftOut }, 'series were left out of a metric');
      } else if (told.kind !== 'absent') {
        const reason = told.kind === 'lines' ? 'page size' : told.reason;
        skipped.inc({ page, family: family.name, reason });
        log.warn({ page, family: family.name, reason, principalId: whose(inspector) }, 'a metric was skipped');
      }
      if (asking.isLost) break;
    }
    return count;
  };
  return {
    async page(page, inspector) {
      const reading: Reading = { page, inspector, since: clock.now(), out: { text: '' } };
      let families = pages[page];
      for (;;) {
        const rest = families;
        const read = await readings.read(inspector, (asking) => readSome(rest, asking, reading));
        if (read.kind !== 'read') return read;
        // A query that costs the session is left out; those behind it have another one.
        families = rest.slice(read.value);
        if (families.length === 0) return { kind: 'read', value: reading.out.text };
      }
    },
  };
}

interface Reading {
  readonly page: MetricPage;
  readonly inspector: Inspector;
  readonly since: number;
  readonly out: { text: string };
}

const whose = ({ caller }: Inspector): string => caller.principal.id;

type Told =
  | { readonly kind: 'absent' }
  | { readonly kind: 'lines'; readonly text: string; readonly leftOut: number }
  /** Never the server's message, which may hold values. */
  | { readonly kind: 'skipped'; readonly reason: string };

async function readFamily(asking: Asking, family: MetricFamily): Promise<Told> {
  try {
    const begin = `begin read only; set local statement_timeout to ${family.timeoutMs}; set local lock_timeout to ${family.timeoutMs}`;
    await asking.command(begin);
    const path = family.requires === undefined ? undefined : await schemaOf(asking, family.requires);
    if (path !== undefined) await asking.command(`set local search_path to pg_catalog, ${path}`);
    const isAbsent = family.requires !== undefined && path === undefined;
    const told: Told = isAbsent ? { kind: 'absent' } : await readLines(asking, family);
    await asking.command('rollback');
    return told;
  } catch (error) {
    if (!(error instanceof QueryFailure)) throw error;
    if (asking.isStopped) throw error;
    await asking.command('rollback').catch(() => {});
    return { kind: 'skipped', reason: error.error.code };
  }
}

/** The schema of an extension as it is written in SQL. */
async function schemaOf(asking: Asking, extension: string): Promise<string | undefined> {
  const [row] = await asking.ask([
    `select quote_ident(n.nspname) from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = '${extension}'`,
  ]);
  return row?.[0] ?? undefined;
}

async function readLines(asking: Asking, family: MetricFamily): Promise<Told> {
  let lines: FamilyLines | undefined;
  let fault: string | undefined = 'no rows';
  let isLarge = false;
  await asking.listen(extendedQuery(family.query, []), {
    columns: (bytes, from, to) => {
      const names = readColumns(bytes, from, to).map(({ name }) => name);
      fault = columnsFault(names, family.value);
      if (fault === undefined) lines = new FamilyLines(family, names);
      return undefined;
    },
    row: (bytes, from, to, left) => {
      // A row that comes in pieces is no label: it is passed over.
      if (!isLarge && left === 0) lines?.add(readRow(bytes, from, to));
      isLarge = left > 0;
      return undefined;
    },
  });
  if (lines === undefined) return { kind: 'skipped', reason: fault ?? 'no rows' };
  return { kind: 'lines', text: lines.print(), leftOut: lines.leftOut };
}
