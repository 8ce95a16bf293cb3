/** The rows of a subscription as JSON: what the encoders of results make of them. */
import { isUtf8 } from 'node:buffer';

import { binaryEncoder } from '../domain/binary.ts';
import { typesUnknown } from '../domain/endings.ts';
import { UnreadableValue } from '../domain/encoder.ts';
import type { Column, SqlError } from '../domain/entries.ts';
import { Output } from '../domain/output.ts';
import type { RowShape } from '../domain/script.ts';
import { invalidText } from '../domain/statements.ts';
import type { Asking, RowsListener } from './asking.pg.ts';
import { QueryFailure, wholeRows } from './asking.pg.ts';
import { readColumns } from './messages.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import { describeQuery, parse, runParsed, sync } from './wire.pg.ts';

const rowTooLarge: SqlError = { message: 'a row is too large for a subscription', code: '54000' };

/** A query of which the columns are known. */
export interface DescribedQuery {
  readonly text: string;
  readonly columns: readonly Column[];
}

export async function describe(asking: Asking, text: string): Promise<DescribedQuery> {
  let columns: readonly Column[] = [];
  await asking.listen(Buffer.concat([describeQuery(text), sync]), {
    columns: (bytes, from, to) => {
      columns = readColumns(bytes, from, to);
      return undefined;
    },
    row: () => undefined,
  });
  return { text, columns };
}

/** What depends on settings when it is printed comes in binary form. */
const runDescribed = ({ text, columns }: DescribedQuery, parameters: readonly (string | null)[]): Buffer =>
  Buffer.concat([
    parse(text),
    runParsed(
      parameters,
      columns.map(({ oid }) => binaryEncoder(oid) !== undefined),
    ),
  ]);

export interface ReadRows {
  /** How many columns at the front are of our own, told as text. */
  readonly ownColumns: number;
  readonly row: (own: readonly (string | null)[], row: Buffer) => Promise<void> | undefined;
}

/** The rows of a query, each as the inside of a JSON array. */
export async function readRows(
  asking: Asking,
  described: DescribedQuery,
  parameters: readonly (string | null)[],
  describeRows: DescribeRows,
  { ownColumns, row }: ReadRows,
): Promise<void> {
  let shape: RowShape | undefined;
  const out = new Output();
  const listener: RowsListener = {
    columns: (bytes, from, to) => {
      const found = describeRows(bytes, from, to, false);
      if (!(found instanceof Promise)) {
        shape = found;
        return undefined;
      }
      return found.then(
        (told) => {
          shape = told;
        },
        () => {
          throw new QueryFailure(typesUnknown);
        },
      );
    },
    row: (bytes, from) => {
      if (shape === undefined) return undefined;
      const own: (string | null)[] = [];
      let at = from + 2;
      out.truncate(0);
      for (const [index, encoder] of shape.encoders.entries()) {
        const length = bytes.readInt32BE(at);
        at += 4;
        const end = at + Math.max(length, 0);
        if (index < ownColumns) own.push(length < 0 ? null : ownText(bytes, at, end, shape.columns[index]));
        else {
          if (index > ownColumns) out.byte(0x2c);
          if (length < 0) out.ascii('null');
          else encode(() => encoder.value(out, bytes, at, end));
        }
        at = end;
      }
      const made = Buffer.concat(out.held());
      if (!isUtf8(made)) throw new QueryFailure(invalidText('in the result'));
      return row(own, made);
    },
  };
  await asking.listen(runDescribed(described, parameters), wholeRows(listener, rowTooLarge));
}

const ownText = (bytes: Buffer, from: number, to: number, column: Column | undefined): string => {
  if (column?.isBinary !== true) return bytes.toString('utf8', from, to);
  return to - from === 8 ? bytes.readBigInt64BE(from).toString() : bytes.toString('hex', from, to);
};

function encode(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof UnreadableValue)) throw error;
    throw new QueryFailure({ message: `a value cannot be shown: ${error.message}`, code: '54000' });
  }
}
