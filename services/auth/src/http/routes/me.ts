import { Failure } from '@postern/contracts/failure';
import { Router } from 'express';

import type { People } from '../../domain/people.ts';
import { actorOf, bodyOf, crowded, deadlineOf, invalid, notAllowed } from '../requests.ts';
import { OwnPasswordChange } from '../schemas.ts';

export function meRoutes(people: People): Router {
  const router = Router();
  router
    .route('/api/me')
    .get((_request, response) => void response.json(actorOf(response).principal))
    .patch(async (request, response) => {
      const wish = bodyOf(request, OwnPasswordChange);
      const change = await people.changeOwnPassword(deadlineOf(), actorOf(response), wish);
      switch (change.kind) {
        case 'done':
          return void response.status(204).end();
        case 'refused':
          throw new Failure('CREDENTIAL_INVALID', { detail: 'the current password is not this one' });
        case 'limited':
          throw new Failure('TOO_MANY_ATTEMPTS', { retryAfterSeconds: change.waitSeconds });
        case 'weak':
          throw invalid('/newPassword', change.reason);
        case 'busy':
        case 'late':
          throw crowded(change.kind);
      }
    })
    .all(notAllowed('GET', 'PATCH'));
  return router;
}
