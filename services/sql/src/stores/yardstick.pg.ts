/** What the server's planner counts costs in, told by the service's own login, whose settings nobody else changes. */
import type pg from 'pg';

import { COST_SETTINGS } from '../domain/guard-estimate.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';

const KEPT_MS = 60_000;

export function createYardstick(pool: Pick<pg.Pool, 'query'>, now: () => number): () => Promise<Yardstick> {
  let known: { readonly asked: Promise<Yardstick>; readonly at: number } | undefined;
  const ask = async (): Promise<Yardstick> => {
    // As EXPLAIN (SETTINGS) tells: those that are not as they were built.
    const { rows } = await pool.query<{ name: string; value: string }>(
      `select name, pg_catalog.current_setting(name) as value from pg_catalog.pg_settings
       where name = any($1) and setting is distinct from boot_val`,
      [COST_SETTINGS],
    );
    return new Map(rows.map(({ name, value }) => [name, value]));
  };
  return () => {
    if (known !== undefined && now() - known.at < KEPT_MS) return known.asked;
    const asked = ask();
    const mine = { asked, at: now() };
    known = mine;
    asked.catch(() => {
      if (known === mine) known = undefined;
    });
    return asked;
  };
}
