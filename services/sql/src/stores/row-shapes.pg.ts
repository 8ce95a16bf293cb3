/** What the rows of a result look like: their description as JSON, and an encoder for each column. */
import { binaryEncoder } from '../domain/binary.ts';
import { describeColumns } from '../domain/entries.ts';
import type { Column } from '../domain/entries.ts';
import type { Catalog } from '../domain/ports.ts';
import type { RowShape } from '../domain/script.ts';
import type { TypeShape } from '../domain/types.ts';
import { builtInEncoder, encoderOf } from '../domain/types.ts';
import { readColumns } from './messages.pg.ts';

const REMEMBERED_MAX = 1_000;
const REMEMBERED_BYTES_MAX = 4_096;

/**
 * With `areTypesHidden`, composite types are shown as text: what the catalog tells another session of them may not be what
 * this one sees. A promise is rejected if the catalog does not answer.
 */
export type DescribeRows = (bytes: Buffer, from: number, to: number, areTypesHidden: boolean) => RowShape | Promise<RowShape>;

export function createDescribeRows(catalog: Catalog): DescribeRows {
  /** By the bytes of the message: a shape depends on nothing else as long as all its types are built in. */
  const remembered = new Map<string, RowShape>();
  return (bytes, from, to, areTypesHidden) => {
    const key = to - from <= REMEMBERED_BYTES_MAX ? bytes.toString('latin1', from, to) : undefined;
    const known = key === undefined ? undefined : remembered.get(key);
    if (known !== undefined) return known;
    const columns = readColumns(bytes, from, to);
    if (columns.some(({ oid }) => builtInEncoder(oid) === undefined)) return askForShapes(columns, catalog, areTypesHidden);
    const shape = shapeRows(columns, new Map());
    if (key !== undefined) {
      if (remembered.size >= REMEMBERED_MAX) remembered.clear();
      remembered.set(key, shape);
    }
    return shape;
  };
}

async function askForShapes(columns: readonly Column[], catalog: Catalog, areTypesHidden: boolean): Promise<RowShape> {
  const asked = columns.map(({ oid }) => oid).filter((oid) => builtInEncoder(oid) === undefined);
  const shapes = await catalog.shapes(asked);
  return shapeRows(columns, areTypesHidden ? withoutComposites(shapes) : shapes);
}

const withoutComposites = (shapes: ReadonlyMap<number, TypeShape>): ReadonlyMap<number, TypeShape> =>
  new Map([...shapes].filter(([, { kind }]) => kind !== 'composite'));

const shapeRows = (columns: readonly Column[], shapes: ReadonlyMap<number, TypeShape>): RowShape => ({
  columns,
  description: describeColumns(columns),
  encoders: columns.map(({ oid, isBinary }) => (isBinary === true ? binaryEncoder(oid) : undefined) ?? encoderOf(oid, shapes)),
});
