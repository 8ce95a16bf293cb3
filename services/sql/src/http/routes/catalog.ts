/** `/api/catalog/…` and `/api/coordinator/…`: for operators, with the rights of whoever asks. */
import type { CatalogBook, CoordinatorBook, Inconsistency, Inspection, Inspector } from '../../domain/inspections.ts';
import type { Answer } from '../../domain/ports.ts';
import { presentSessionRefusal } from '../present.ts';
import type { Route, Visit } from '../server.ts';
import { sendAnswer } from './sql.ts';

const JSON_TYPE = 'application/json';

export const catalogRoutes = (catalog: CatalogBook, coordinator: CoordinatorBook): Route[] => [
  dumpRoute('/api/catalog/dump', catalog),
  checkRoute('/api/catalog/check', catalog),
  dumpRoute('/api/coordinator/dump', coordinator),
  checkRoute('/api/coordinator/check', coordinator),
];

const dumpRoute = (path: string, book: { dump(inspector: Inspector): Promise<Inspection<Answer>> }): Route => ({
  method: 'GET',
  path,
  serve: async (visit) => {
    visit.response.setHeader('cache-control', 'no-store');
    await sendInspection(visit, await book.dump(inspectorOf(visit)), (answer) => sendAnswer(answer, visit.response));
  },
});

const checkRoute = (
  path: string,
  book: { check(inspector: Inspector): Promise<Inspection<readonly Inconsistency[]>> },
): Route => ({
  method: 'GET',
  path,
  serve: async (visit) => {
    visit.response.setHeader('cache-control', 'no-store');
    await sendInspection(visit, await book.check(inspectorOf(visit)), (found) =>
      sendBody(visit, JSON_TYPE, JSON.stringify(found.length === 0 ? '' : { err: found })),
    );
  },
});

export function inspectorOf({ caller, response }: Visit): Inspector {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once('close', () => resolve());
  if (response.closed) resolve();
  return { caller, gone: promise };
}

export function sendBody({ response }: Visit, contentType: string, body: string): void {
  response.writeHead(200, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }).end(body);
}

export async function sendInspection<Value>(
  { response }: Visit,
  inspection: Inspection<Value>,
  send: (value: Value) => Promise<void> | void,
): Promise<void> {
  switch (inspection.kind) {
    case 'read':
      return send(inspection.value);
    case 'failed':
    case 'sessionRefused': {
      const isDenied = inspection.kind === 'sessionRefused' && inspection.isDenied;
      const { status, headers, body } = presentSessionRefusal(inspection.error, isDenied);
      response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
      return;
    }
    case 'abandoned':
      response.destroy();
  }
}
