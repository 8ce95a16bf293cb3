/** The documents that are generated from what is served: as they are, of the version that answers. */
import type { Route } from '../server.ts';
import { sendBody } from './catalog.ts';

/** By the path at which each is served. */
export type Documents = ReadonlyMap<string, string>;

export const documentRoutes = (documents: Documents): Route[] =>
  [...documents].map(([path, body]) => ({
    method: 'GET',
    path,
    serve: async (visit) => {
      visit.response.setHeader('cache-control', 'no-cache');
      sendBody(visit, 'application/json', body);
    },
  }));
