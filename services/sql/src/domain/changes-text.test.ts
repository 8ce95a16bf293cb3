import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { ChangedValue } from './changes-text.ts';
import { readChange, readLine, unchanged, UnreadableChange } from './changes-text.ts';

/** As `test_decoding` prints, in C. */
const quoted = (name: string): string => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
const types = ['integer', 'text', 'character varying', 'integer[]', '"char"', 'public."odd]: type"', 'bit', 'boolean'] as const;
const print = (type: string, value: ChangedValue): string => {
  if (value === null) return 'null';
  if (value === unchanged) return 'unchanged-toast-datum';
  if (type === 'integer' || type === 'boolean') return value;
  return `${type === 'bit' ? 'B' : ''}'${value.replaceAll("'", "''")}'`;
};
const anyName = fc.string({
  minLength: 1,
  maxLength: 8,
  unit: fc.constantFrom('a', 'B', '"', '.', ':', '[', ']', ' ', ',', "'"),
});
const anyText = fc.string({
  maxLength: 12,
  unit: fc.constantFrom('a', "'", '"', '\\', ' ', '\n', 'new-tuple:', ' old-key:', '[', ']:', 'é'),
});
const anyColumn = fc.constantFrom(...types).chain((type) =>
  fc.record({
    type: fc.constant(type),
    name: anyName,
    value: fc.oneof(
      fc.constant(null),
      type === 'integer'
        ? fc.constantFrom('0', '-1', 'NaN', '1e-7')
        : type === 'boolean'
          ? fc.constantFrom('true', 'false')
          : fc.oneof(anyText, fc.constant(unchanged)),
    ),
  }),
);
const anyRow = fc.uniqueArray(anyColumn, { selector: ({ name }) => name, minLength: 1, maxLength: 5 });
type Row = typeof anyRow extends fc.Arbitrary<infer Value> ? Value : never;
const printRow = (row: Row): string =>
  row.map(({ name, type, value }) => ` ${quoted(name)}[${type}]:${print(type, value)}`).join('');
const entries = (row: Row): unknown => row.map(({ name, value }) => [name, value]);

test('what is printed is read back, whatever names, types and values hold', () => {
  fc.assert(
    fc.property(anyName, anyName, anyRow, anyRow, (schema, table, old, row) => {
      const name = `${quoted(schema)}.${quoted(table)}`;
      const insert = `table ${name}: INSERT:${printRow(row)}`;
      expect(readLine(insert)).toEqual({ kind: 'tables', tables: [name] });
      const inserted = readChange(insert);
      expect(inserted.kind === 'insert' && [...inserted.row]).toEqual(entries(row));
      const updated = readChange(`table ${name}: UPDATE: old-key:${printRow(old)} new-tuple:${printRow(row)}`);
      expect(updated.kind === 'update' && [[...(updated.old ?? [])], [...updated.row]]).toEqual([entries(old), entries(row)]);
      const plain = readChange(`table ${name}: UPDATE:${printRow(row)}`);
      expect(plain.kind === 'update' && plain.old === undefined && [...plain.row]).toEqual(entries(row));
      const removed = readChange(`table ${name}: DELETE:${printRow(old)}`);
      expect(removed.kind === 'delete' && [...(removed.old ?? [])]).toEqual(entries(old));
    }),
  );
});

describe('lines', () => {
  test('transactions', () => {
    expect(readLine('BEGIN 745')).toEqual({ kind: 'begin', xid: 745 });
    expect(readLine('COMMIT 745')).toEqual({ kind: 'commit' });
    expect(readLine('message: transactional: 1 prefix: a, sz: 1 content:b')).toEqual({ kind: 'other' });
  });

  test('a truncation names all its tables', () => {
    const line = 'table public.a, public."b, c": TRUNCATE: restart_seqs cascade';
    expect(readLine(line)).toEqual({ kind: 'tables', tables: ['public.a', 'public."b, c"'] });
    expect(readChange(line)).toEqual({ kind: 'truncate' });
  });

  test('a deletion that does not tell which row it was', () => {
    expect(readChange('table public.a: DELETE: (no-tuple-data)')).toEqual({ kind: 'delete', old: undefined });
  });

  test.for(['table public.a: MERGE: a[integer]:1', "table public.a: INSERT: a[text]:'b", 'table public.a: INSERT: a[text'])(
    'a line that is no such text is refused: %s',
    (line) => {
      expect(() => readChange(line)).toThrow(UnreadableChange);
    },
  );
});
