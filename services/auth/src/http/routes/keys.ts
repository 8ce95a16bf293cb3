import { Failure } from '@postern/contracts/failure';
import { Router } from 'express';

import type { Keys } from '../../domain/keys.ts';
import { actorOf, bodyOf, deadlineOf, notAllowed, queryOf } from '../requests.ts';
import { KeyCreation, KeysQuery, showKey } from '../schemas.ts';

export function keyRoutes(keys: Keys): Router {
  const router = Router();

  router
    .route('/api/keys')
    .get(async (request, response) => {
      const { limit, after, person } = queryOf(request, KeysQuery);
      const found = await keys.list(deadlineOf(), actorOf(response), { after, limit: limit + 1, person });
      switch (found.kind) {
        case 'denied':
          throw new Failure('ADMIN_REQUIRED');
        case 'unknown':
          throw new Failure('PERSON_NOT_FOUND');
        case 'keys': {
          const page = found.keys.slice(0, limit);
          const next = found.keys.length > limit ? (page.at(-1)?.id ?? null) : null;
          return void response.json({ keys: page.map((key) => showKey(key, found.person)), next });
        }
      }
    })
    .post(async (request, response) => {
      const { name, person, expiresInSeconds } = bodyOf(request, KeyCreation);
      const made = await keys.make(deadlineOf(), actorOf(response), { name, person, expiresInSeconds });
      switch (made.kind) {
        case 'denied':
          throw new Failure('ADMIN_REQUIRED');
        case 'unknown':
          throw new Failure('PERSON_NOT_FOUND');
        case 'unmanaged':
          throw new Failure('NAME_RESERVED', { detail: 'this principal has no keys' });
        case 'full':
          throw new Failure('INVALID_REQUEST', { detail: 'there are as many keys as a person may have: revoke one first' });
        case 'made':
          // The only time the key is seen.
          return void response.status(201).json({ ...showKey(made.key, made.person), key: made.text });
      }
    })
    .all(notAllowed('GET', 'POST'));

  router
    .route('/api/keys/:id')
    .delete(async (request, response) => {
      const outcome = await keys.revoke(deadlineOf(), actorOf(response), request.params.id);
      if (outcome === 'unknown') throw new Failure('KEY_NOT_FOUND');
      response.status(204).end();
    })
    .all(notAllowed('DELETE'));

  return router;
}
