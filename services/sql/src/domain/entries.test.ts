import { expect, test } from 'vitest';

import { describeColumns, Entries, humanSize, resultTooLarge } from './entries.ts';
import { Output } from './output.ts';

function written(write: (entries: Entries, out: Output) => void): unknown {
  const out = new Output();
  const entries = new Entries(out);
  write(entries, out);
  entries.finish();
  let text = Buffer.concat(out.held()).toString();
  for (const { at, text: inserted } of entries.insertions.toReversed()) text = text.slice(0, at) + inserted + text.slice(at);
  return JSON.parse(text);
}

const description = describeColumns([{ name: 'a "b"', oid: 4_294_967_295, length: -1, modifier: -1 }]);

const row = (entries: Entries, out: Output): void => {
  entries.openRow();
  out.ascii('"1"');
  entries.closeRow();
};

const rowsEntry = {
  desc: { columns: [{ name: 'a "b"', type_oid: 4_294_967_295, type_len: -1, type_mod: -1 }] },
  rows: [['1'], ['1']],
  tag: 'SELECT 2',
  notices: [],
};

const undone = { message: 'a transaction was left open and has been rolled back', code: '40000', severity: 'warning' };

test('that a transaction was left open and is rolled back is a notice of the last entry', () => {
  const after = (write: (entries: Entries, out: Output) => void): unknown =>
    written((entries, out) => {
      write(entries, out);
      entries.rolledBack();
    });
  const warned = { message: 'w', code: '01000', severity: 'warning' };
  expect(after((entries) => void entries.complete('BEGIN'))).toEqual({ results: [{ ok: 'BEGIN', notices: [undone] }] });
  const settings = [{ name: 'a', value: 'b' }];
  expect(
    after((entries, out) => {
      entries.openRows(description);
      row(entries, out);
      row(entries, out);
      entries.complete('SELECT 2');
      entries.notice(warned);
      entries.insertSettings(entries.complete('SET'), settings);
    }),
  ).toEqual({ results: [rowsEntry, { ok: 'SET', notices: [warned, undone], parameters: settings }] });
  expect(
    after((entries, out) => {
      entries.openRows(description);
      row(entries, out);
      row(entries, out);
      entries.complete('SELECT 2');
    }),
  ).toEqual({ results: [{ ...rowsEntry, notices: [undone] }] });
});

test('what has failed, or is nothing, has nothing to say of a transaction', () => {
  const error = { message: 'm', code: '22012' };
  const failed = written((entries) => {
    entries.complete('BEGIN');
    entries.fail(error);
    entries.rolledBack();
  });
  expect(failed).toEqual({
    results: [
      { ok: 'BEGIN', notices: [] },
      { error, notices: [] },
    ],
  });
  expect(written((entries) => entries.rolledBack())).toEqual({ results: [] });
});

test('the tag of rows counts them, whatever the statement was', () => {
  const answer = written((entries, out) => {
    entries.openRows(description);
    row(entries, out);
    row(entries, out);
    entries.complete('INSERT 0 2');
    entries.openRows(description);
    entries.complete('SHOW');
  });
  expect(answer).toEqual({ results: [rowsEntry, { ...rowsEntry, rows: [], tag: 'SELECT 0' }] });
});

test('an error takes back the rows of its own entry and nothing of the entries before it', () => {
  const answer = written((entries, out) => {
    entries.openRows(description);
    row(entries, out);
    row(entries, out);
    entries.complete('SELECT 2');
    entries.openRows(description);
    row(entries, out);
    entries.fail({ message: 'no', code: '22012', detail: undefined, position: 8 });
  });
  expect(answer).toEqual({ results: [rowsEntry, { error: { message: 'no', code: '22012', position: 8 }, notices: [] }] });
});

test('several results of one statement are an entry each, and its error takes all of them back', () => {
  const several = (entries: Entries, out: Output): void => {
    entries.openRows(description);
    row(entries, out);
    row(entries, out);
    entries.notice({ message: 'late', code: '00000', severity: 'notice' });
    entries.openRows(description);
  };
  const notices = [{ message: 'late', code: '00000', severity: 'notice' }];
  const first = { ok: 'BEGIN', notices: [] };
  expect(
    written((entries, out) => {
      entries.complete('BEGIN');
      several(entries, out);
      entries.complete('INSERT 0 1');
    }),
  ).toEqual({ results: [first, rowsEntry, { ...rowsEntry, rows: [], tag: 'SELECT 0', notices }] });
  expect(
    written((entries, out) => {
      several(entries, out);
      entries.fail({ message: 'no', code: '22012' });
      entries.complete('ROLLBACK');
    }),
  ).toEqual({
    results: [
      { error: { message: 'no', code: '22012' }, notices },
      { ok: 'ROLLBACK', notices: [] },
    ],
  });
});

test('notices go with the next entry, and too many are counted instead of kept', () => {
  const answer = written((entries) => {
    for (let index = 0; index < 1_005; index += 1) entries.notice({ message: String(index), code: '00000', severity: 'notice' });
    entries.complete('DO');
    entries.complete('DO');
  }) as { results: { notices: { message: string }[] }[] };
  expect(answer.results[0]?.notices).toHaveLength(1_001);
  expect(answer.results[0]?.notices.at(-1)?.message).toBe('5 more notices were left out');
  expect(answer.results[1]?.notices).toEqual([]);
});

test('settings are told with the statement that changed them, also when they are known only later', () => {
  const answer = written((entries, out) => {
    entries.complete('SET', [{ name: 'TimeZone', value: 'UTC' }]);
    const at = entries.complete('SET');
    const later = entries.complete('SET');
    entries.openRows(description);
    row(entries, out);
    entries.complete('SELECT 1', [{ name: 'x', value: 'never with rows' }]);
    entries.insertSettings(later, [{ name: 'b', value: '2' }]);
    entries.insertSettings(at, [{ name: 'a', value: '1' }]);
  });
  expect(answer).toEqual({
    results: [
      { ok: 'SET', notices: [], parameters: [{ name: 'TimeZone', value: 'UTC' }] },
      { ok: 'SET', notices: [], parameters: [{ name: 'a', value: '1' }] },
      { ok: 'SET', notices: [], parameters: [{ name: 'b', value: '2' }] },
      { ...rowsEntry, rows: [['1']], tag: 'SELECT 1' },
    ],
  });
});

test('sizes are told as people read them', () => {
  expect(humanSize(1_073_741_824)).toBe('1.0 GiB');
  expect(humanSize(1_048_576)).toBe('1.0 MiB');
  expect(humanSize(1_572_864)).toBe('1.5 MiB');
  expect(humanSize(512)).toBe('512 B');
  expect(resultTooLarge(1_073_741_824)).toEqual({ message: 'result exceeds max size of 1.0 GiB', code: '53200' });
});
