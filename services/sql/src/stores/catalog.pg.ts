/** The catalog of the person database, read by the service's own login, which owns nothing. */
import type { Pool } from 'pg';

import type { Catalog } from '../domain/ports.ts';
import type { TypeShape } from '../domain/types.ts';
import { builtInEncoder, partsOf } from '../domain/types.ts';

const SHAPES = `
  select t.oid::int8::text as oid, t.typtype as kind, t.typoutput = 'array_out'::regproc as is_array,
         t.typelem::int8::text as element, t.typdelim as delimiter, t.typbasetype::int8::text as base,
         (select json_agg(json_build_object('name', a.attname, 'type', a.atttypid::int8) order by a.attnum)
            from pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as fields,
         exists (select from pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid and a.xmax::text <> '0'
                    and exists (select from pg_locks l where l.locktype = 'transactionid' and l.transactionid = a.xmax)) as is_changing
    from pg_type t where t.oid = any($1::oid[])`;

interface ShapeRow {
  readonly oid: string;
  readonly kind: string;
  readonly is_array: boolean;
  readonly element: string;
  readonly delimiter: string;
  readonly base: string;
  readonly fields: readonly { readonly name: string; readonly type: number }[] | null;
  /** A transaction that is under way has changed a field; it may be the one whose rows are to be read. */
  readonly is_changing: boolean;
}

const REMEMBERED_MAX = 5_000;
const REMEMBERED_MS = 60_000;
/** Rounds of asking for the parts of parts. */
const ROUNDS_MAX = 16;

export function createCatalog(pool: Pool, now: () => number): Catalog {
  /** Composite types change with their tables, so they are asked for each time; the others keep their shape for life. */
  const remembered = new Map<number, { readonly shape: TypeShape; readonly until: number }>();

  const recall = (oid: number): TypeShape | undefined => {
    const known = remembered.get(oid);
    return known !== undefined && known.until > now() ? known.shape : undefined;
  };
  const remember = (oid: number, shape: TypeShape): void => {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(oid, { shape, until: now() + REMEMBERED_MS });
  };
  const ask = async (oids: readonly number[]): Promise<Map<number, TypeShape>> => {
    const { rows } = await pool.query<ShapeRow>(SHAPES, [oids]);
    const told = new Map<number, TypeShape>();
    for (const row of rows) {
      const shape = shapeOf(row);
      told.set(Number(row.oid), shape);
      if (row.kind !== 'c') remember(Number(row.oid), shape);
    }
    return told;
  };

  return {
    async shapes(oids) {
      const found = new Map<number, TypeShape>();
      let wanted = [...oids];
      for (let round = 0; wanted.length > 0 && round < ROUNDS_MAX; round += 1) {
        const unknown: number[] = [];
        const parts: number[] = [];
        for (const oid of new Set(wanted)) {
          if (builtInEncoder(oid) !== undefined || found.has(oid)) continue;
          const shape = recall(oid);
          if (shape === undefined) unknown.push(oid);
          else {
            found.set(oid, shape);
            parts.push(...partsOf(shape));
          }
        }
        if (unknown.length > 0) {
          const told = await ask(unknown);
          for (const oid of unknown) {
            // A type that another session cannot see yet is shown as text.
            const shape = told.get(oid) ?? { kind: 'text' };
            found.set(oid, shape);
            parts.push(...partsOf(shape));
          }
        }
        wanted = parts;
      }
      return found;
    },
  };
}

function shapeOf(row: ShapeRow): TypeShape {
  if (row.is_array) return { kind: 'array', element: Number(row.element), delimiter: row.delimiter };
  if (row.kind === 'c' && row.is_changing) return { kind: 'text' };
  if (row.kind === 'c') return { kind: 'composite', fields: row.fields ?? [] };
  if (row.kind === 'd') return { kind: 'domain', base: Number(row.base) };
  return { kind: 'text' };
}
