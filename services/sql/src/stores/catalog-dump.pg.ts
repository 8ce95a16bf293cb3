/** The catalog of the served database as its reader may see it: all of it, and what in it does not fit. */
import type { CatalogBook } from '../domain/inspections.ts';
import { CATALOG_CHECKS, readInconsistencies } from './catalog-checks.pg.ts';
import { SECTIONS, SNAPSHOT } from './catalog-sections.pg.ts';
import { JsonAnswer } from './json-answer.pg.ts';
import type { Asking } from './asking.pg.ts';
import type { Readings } from './readings.pg.ts';
import type { SpoolLimits } from './spooled-output.fs.ts';

export interface CatalogBookOptions {
  readonly readings: Pick<Readings, 'read'>;
  readonly answers: SpoolLimits;
}

/** Whatever the role has set for itself, names are printed with their schemas and values the same for everyone. */
const BEGIN = `
  begin isolation level repeatable read read only;
  set local search_path to pg_catalog, pg_temp;
  set local quote_all_identifiers to off;
  set local timezone to 'UTC'`;

export function createCatalogBook({ readings, answers }: CatalogBookOptions): CatalogBook {
  return {
    dump: (inspector) =>
      readings.read(inspector, async (asking) => {
        await using answer = new JsonAnswer(answers);
        await inSnapshot(asking, () => writeCatalog(asking, answer));
        return answer.finish();
      }),
    check: (inspector) =>
      readings.read(inspector, (asking) => inSnapshot(asking, () => readInconsistencies(asking, CATALOG_CHECKS))),
  };
}

export async function inSnapshot<Value>(asking: Asking, work: () => Promise<Value>): Promise<Value> {
  await asking.command(BEGIN);
  const value = await work();
  await asking.command('rollback');
  return value;
}

async function writeCatalog(asking: Asking, answer: JsonAnswer): Promise<void> {
  answer.out.ascii('{"snapshot":');
  await answer.value(asking, SNAPSHOT);
  for (const [name, question] of Object.entries(SECTIONS)) {
    answer.out.ascii(`,\n"${name}":`);
    await answer.array(asking, question);
  }
  answer.out.ascii('}');
}
