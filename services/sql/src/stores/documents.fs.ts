/** The generated documents that are served, read once. */
import { readFileSync } from 'node:fs';

const FILES = {
  '/api/openapi.json': '../../../../docs/openapi.json',
  '/api/schemas/sql-websocket.json': '../../../../docs/schemas/sql-websocket.json',
} as const;

export const readDocuments = (): ReadonlyMap<string, string> =>
  new Map(Object.entries(FILES).map(([path, file]) => [path, readFileSync(new URL(file, import.meta.url), 'utf8')]));
