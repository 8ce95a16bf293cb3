import { Failure } from '@postern/contracts/failure';
import type { Response } from 'express';
import { Router } from 'express';

import type { Creation, People } from '../../domain/people.ts';
import type { Person } from '../../domain/ports.ts';
import { adminsOnly, bodyOf, crowded, deadlineOf, invalid, notAllowed, queryOf } from '../requests.ts';
import { PageQuery, PersonChange, PersonCreation, showPerson } from '../schemas.ts';

export function peopleRoutes(people: People): Router {
  const router = Router();
  router.use('/api/people', adminsOnly);

  router
    .route('/api/people')
    .get(async (request, response) => {
      const { limit, after } = queryOf(request, PageQuery);
      const found = await people.list(deadlineOf(), { after, limit: limit + 1 });
      const page = found.slice(0, limit);
      response.json({ people: page.map(showPerson), next: found.length > limit ? (page.at(-1)?.name ?? null) : null });
    })
    .post(async (request, response) => {
      const { name, kind, roles, password } = bodyOf(request, PersonCreation);
      const person = createdPerson(await people.create(deadlineOf(), { name, kind, roles, password }));
      response
        .status(201)
        .location(`/api/people/${encodeURIComponent(person.name)}`)
        .json(showPerson(person));
    })
    .all(notAllowed('GET', 'POST'));

  router
    .route('/api/people/:name')
    .get(async (request, response) => {
      const person = await people.find(deadlineOf(), request.params.name);
      if (person === undefined) throw new Failure('PERSON_NOT_FOUND');
      response.json(showPerson(person));
    })
    .patch(async (request, response) => {
      const change = await people.change(deadlineOf(), request.params.name, bodyOf(request, PersonChange));
      switch (change.kind) {
        case 'done':
          return void response.json(showPerson(change.person));
        case 'unknown':
          throw new Failure('PERSON_NOT_FOUND');
        case 'lastAdmin':
          throw new Failure('LAST_ADMIN');
        case 'unmanaged':
          throw new Failure('NAME_RESERVED', { detail: 'this principal has no password' });
        case 'taken':
          throw new Failure('PERSON_EXISTS', { detail: 'the database role of this name is not ours' });
        case 'weak':
          throw invalid('/password', change.reason);
        case 'busy':
        case 'late':
          throw crowded(change.kind);
      }
    })
    .delete(async (request, response) => answerRemoval(response, (await people.remove(deadlineOf(), request.params.name)).kind))
    .all(notAllowed('GET', 'PATCH', 'DELETE'));

  return router;
}

function createdPerson(creation: Creation): Person {
  switch (creation.kind) {
    case 'done':
      return creation.person;
    case 'taken':
      throw new Failure('PERSON_EXISTS');
    case 'reserved':
      throw new Failure('NAME_RESERVED');
    case 'malformed':
      throw invalid('/name', 'must be letters and digits of one script, then also _ . @ + | ~ = -, at most 63 bytes');
    case 'weak':
      throw invalid('/password', creation.reason);
    case 'busy':
    case 'late':
      throw crowded(creation.kind);
  }
}

function answerRemoval(response: Response, kind: 'done' | 'unknown' | 'lastAdmin'): void {
  switch (kind) {
    case 'done':
      return void response.status(204).end();
    case 'unknown':
      throw new Failure('PERSON_NOT_FOUND');
    case 'lastAdmin':
      throw new Failure('LAST_ADMIN');
  }
}
