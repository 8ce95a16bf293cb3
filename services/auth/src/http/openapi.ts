/** The administration API in the schemas it reads and writes with; the OpenAPI document of the mesh is made of it. */
import { PersonName, Principal } from '@postern/contracts/common';
import type { Answer, Described } from '@postern/service-kit/operations';
import { json, problem } from '@postern/service-kit/operations';
import { z } from 'zod';

import {
  KeyCreation,
  KeysPage,
  KeysQuery,
  KeyView,
  NewKey,
  OwnPasswordChange,
  PageQuery,
  PeoplePage,
  PersonChange,
  PersonCreation,
  PersonView,
} from './schemas.ts';

const refused: Readonly<Record<number, Answer>> = {
  400: problem('The body is not JSON'),
  415: problem('The body is not application/json'),
  422: problem('The body is of another shape; each issue names where'),
};
const denied = { 403: problem('Only for administrators') };
const name = z.object({ name: PersonName });
const id = z.object({ id: z.string() });

export const described: Described = {
  shapes: { Principal, Person: PersonView, ApiKey: KeyView },
  operations: [
    {
      method: 'GET',
      path: '/api/people',
      summary: 'People, by name',
      query: PageQuery,
      answers: {
        200: { description: 'A page of them', content: json(PeoplePage) },
        400: problem('A parameter is mistaken'),
        ...denied,
      },
    },
    {
      method: 'POST',
      path: '/api/people',
      summary: 'Add a person, a service or an agent',
      body: json(PersonCreation),
      answers: {
        201: { description: 'Added', content: json(PersonView), headers: { location: 'Where it is' } },
        409: problem('The name is taken or reserved'),
        ...refused,
        ...denied,
      },
    },
    {
      method: 'GET',
      path: '/api/people/{name}',
      summary: 'One of them',
      params: name,
      answers: {
        200: { description: 'This one', content: json(PersonView) },
        404: problem('There is nobody of this name'),
        ...denied,
      },
    },
    {
      method: 'PATCH',
      path: '/api/people/{name}',
      summary: 'Change roles, password, or whether they may come in',
      params: name,
      body: json(PersonChange),
      answers: {
        200: { description: 'As they are now', content: json(PersonView) },
        404: problem('There is nobody of this name'),
        409: problem('The change would leave no administrator, or is not possible for this one'),
        ...refused,
        ...denied,
      },
    },
    {
      method: 'DELETE',
      path: '/api/people/{name}',
      summary: 'Remove one, with their keys, sessions and database login',
      params: name,
      answers: {
        204: { description: 'Removed' },
        404: problem('There is nobody of this name'),
        409: problem('The last administrator stays'),
        ...denied,
      },
    },
    {
      method: 'GET',
      path: '/api/keys',
      summary: 'API keys, your own or a person’s',
      query: KeysQuery,
      answers: {
        200: { description: 'A page of them', content: json(KeysPage) },
        400: problem('A parameter is mistaken'),
        404: problem('There is nobody of this name'),
        ...denied,
      },
    },
    {
      method: 'POST',
      path: '/api/keys',
      summary: 'Make an API key',
      body: json(KeyCreation),
      answers: {
        201: { description: 'The key, which is shown only now', content: json(NewKey) },
        404: problem('There is nobody of this name'),
        409: problem('There can be no keys for this one'),
        ...refused,
        ...denied,
      },
    },
    {
      method: 'DELETE',
      path: '/api/keys/{id}',
      summary: 'Revoke an API key',
      params: id,
      answers: { 204: { description: 'Revoked' }, 404: problem('You have no such key') },
    },
    {
      method: 'GET',
      path: '/api/me',
      summary: 'Who you are here',
      answers: { 200: { description: 'The principal of the request', content: json(Principal) } },
    },
    {
      method: 'PATCH',
      path: '/api/me',
      summary: 'Change your own password',
      body: json(OwnPasswordChange),
      answers: { 204: { description: 'Changed' }, 401: problem('The current password is wrong'), ...refused },
    },
  ],
};
