import fc from 'fast-check';
import { expect, test } from 'vitest';

import { CsvScript } from './csv.ts';
import { Flow } from './outlet.ts';

interface Sent {
  text: string;
  ending: 'open' | 'ended' | 'aborted' | 'refused';
}

function script(): { readonly csv: CsvScript; readonly flow: Flow; readonly sent: Sent } {
  const sent: Sent = { text: '', ending: 'open' };
  const outlet = {
    send: (chunks: readonly Buffer[], taken: () => void) => {
      sent.text += Buffer.concat(chunks).toString();
      taken();
    },
    behind: () => undefined,
    soon: () => {},
    end: () => void (sent.ending = 'ended'),
    abort: () => void (sent.ending = 'aborted'),
    refuse: () => void (sent.ending = 'refused'),
  };
  const flow = new Flow(outlet, { isBroken: false, add: () => {} });
  return { csv: new CsvScript(flow), flow, sent };
}

const shape = (...names: readonly string[]) => ({
  columns: names.map((name) => ({ name, oid: 25, length: -1, modifier: -1 })),
  description: Buffer.alloc(0),
  encoders: [],
});

/** As RFC 4180 reads it, but that a field without quotes and characters is NULL. */
function parse(text: string): (string | null)[][] {
  const rows: (string | null)[][] = [];
  let row: (string | null)[] = [];
  for (const [, quoted, plain = '', end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy)) {
    row.push(quoted === undefined ? plain || null : quoted.replaceAll('""', '"'));
    if (end === ',') continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

const value = fc.option(fc.string({ unit: fc.constantFrom('a', '"', ',', '\r', '\n', ' ', 'é', '\\'), maxLength: 8 }), {
  nil: null,
});

test('what is written reads back as what it was, also when values pass in pieces', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(value, value)), fc.integer({ min: 0, max: 4 }), (rows, size) => {
      const { csv, sent } = script();
      const { encoders, nothing } = csv.columns(shape('a,b', 'c"d'));
      for (const row of rows) {
        csv.openRow();
        for (const [column, text] of row.entries()) {
          if (column > 0) csv.out.byte(0x2c);
          const bytes = Buffer.from(text ?? '');
          if (text === null) csv.out.bytes(nothing, 0, nothing.length);
          else if (size === 0) encoders[column]?.value(csv.out, bytes, 0, bytes.length);
          else {
            const pieces = encoders[column]?.pieces(csv.out);
            pieces?.begin();
            for (let at = 0; at < bytes.length; at += size) pieces?.write(bytes, at, Math.min(bytes.length, at + size));
            pieces?.end();
          }
        }
        csv.closeRow();
      }
      csv.complete();
      csv.finished();
      expect(parse(sent.text)).toEqual([['a,b', 'c"d'], ...rows]);
      expect(sent.ending).toBe('ended');
    }),
    { numRuns: 500 },
  );
});

test('an error is an answer of its own as long as nothing has been sent, and breaks the answer off afterwards', () => {
  const error = { message: 'no', code: 'XX000' };
  const early = script();
  early.csv.columns(shape('a'));
  early.csv.error(error);
  early.csv.finished();
  expect(early.sent).toEqual({ text: '', ending: 'refused' });
  const late = script();
  late.csv.columns(shape('a'));
  late.flow.send();
  late.csv.error(error);
  late.csv.finished();
  expect(late.sent).toEqual({ text: 'a\r\n', ending: 'aborted' });
});

test('a result without columns is no CSV', () => {
  const { csv, sent } = script();
  csv.complete();
  csv.finished();
  expect(sent.ending).toBe('refused');
});
