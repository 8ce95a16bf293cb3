/** What the rows of a result look like in the Neon driver's protocol: its fields as JSON, and how each row is written. */
import { text } from '../domain/encoder.ts';
import { neonEncoder } from '../domain/neon-values.ts';
import type { Catalog } from '../domain/ports.ts';
import type { RowForm } from '../domain/script.ts';
import { builtInEncoder } from '../domain/types.ts';
import type { TypeShape } from '../domain/types.ts';
import { MessageReader } from './wire.pg.ts';

export interface NeonRows extends RowForm {
  /** JSON of `fields`. */
  readonly fields: Buffer;
  /** In object mode with the names in them. */
  readonly prefixes: readonly Buffer[];
}

export interface RowsMode {
  readonly isRawText: boolean;
  readonly isArrayMode: boolean;
}

/** A promise is rejected if the catalog does not answer. */
export type DescribeNeonRows = (bytes: Buffer, from: number, to: number, mode: RowsMode) => NeonRows | Promise<NeonRows>;

const NULL = Buffer.from('null');
const REMEMBERED_MAX = 1_000;
const REMEMBERED_BYTES_MAX = 4_096;
const NO_SHAPES: ReadonlyMap<number, TypeShape> = new Map();

export function createDescribeNeonRows(catalog: Catalog): DescribeNeonRows {
  /** By the bytes of the message: rows depend on nothing else as long as no type has to be asked for. */
  const remembered = new Map<string, NeonRows>();
  return (bytes, from, to, mode) => {
    const key =
      to - from <= REMEMBERED_BYTES_MAX
        ? `${String(mode.isRawText)} ${String(mode.isArrayMode)} ${bytes.toString('latin1', from, to)}`
        : undefined;
    const known = key === undefined ? undefined : remembered.get(key);
    if (known !== undefined) return known;
    const fields = readFields(bytes, from, to);
    const unknown = mode.isRawText ? [] : fields.map(({ oid }) => oid).filter((oid) => builtInEncoder(oid) === undefined);
    if (unknown.length > 0) return catalog.shapes(unknown).then((shapes) => rowsOf(fields, shapes, mode));
    const rows = rowsOf(fields, NO_SHAPES, mode);
    if (key !== undefined) {
      if (remembered.size >= REMEMBERED_MAX) remembered.clear();
      remembered.set(key, rows);
    }
    return rows;
  };
}

interface Field {
  readonly name: string;
  readonly oid: number;
  /** JSON. */
  readonly description: string;
}

function readFields(bytes: Buffer, from: number, to: number): Field[] {
  const reader = new MessageReader(bytes, from, to);
  return Array.from({ length: reader.int16() }, () => {
    const name = reader.text();
    const [table, column, oid, size, modifier] = [
      reader.uint32(),
      reader.int16(),
      reader.uint32(),
      reader.int16(),
      reader.int32(),
    ];
    // The format of a column that is described with its portal: always text here.
    reader.int16();
    const description = JSON.stringify({
      name,
      dataTypeID: oid,
      tableID: table,
      columnID: column,
      dataTypeSize: size,
      dataTypeModifier: modifier,
      format: 'text',
    });
    return { name, oid, description };
  });
}

const rowsOf = (fields: readonly Field[], shapes: ReadonlyMap<number, TypeShape>, mode: RowsMode): NeonRows => ({
  fields: Buffer.from(`[${fields.map(({ description }) => description).join(',')}]`),
  nothing: NULL,
  encoders: fields.map(({ oid }) => (mode.isRawText ? text : neonEncoder(oid, shapes))),
  prefixes: fields.map(({ name }, index) =>
    Buffer.from(`${index === 0 ? '' : ','}${mode.isArrayMode ? '' : `${JSON.stringify(name)}:`}`),
  ),
});
