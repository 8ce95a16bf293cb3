import { expect, test } from 'vitest';

import { readRepository } from './repository.ts';
import { roomMistakes } from './rooms.ts';

const room = (...paths: string[]) =>
  ['README.md', 'package.json', 'src/main.ts', 'src/config.ts', 'src/app.ts', ...paths].map((path) => ({
    path: `services/attic/${path}`,
    text: '',
  }));

test('every service is the same room', () => {
  expect(roomMistakes(readRepository())).toEqual([]);
});

test.each([
  'migrations/0001_create_boxes.sql',
  'src/domain/boxes.ts',
  'src/domain/boxes.test.ts',
  'src/nats/handlers.ts',
  'src/http/routes/boxes.ts',
  'src/http/middleware/access.ts',
  'src/stores/box-store.pg.ts',
  'test/box-store.suite.ts',
  'test/box-store.memory.ts',
  'test/attic.int.test.ts',
])('a room may have %s', (path) => {
  expect(roomMistakes(room(path))).toEqual([]);
});

test.each([
  'src/lib/boxes.ts',
  'src/index.ts',
  'src/domain/deep/boxes.ts',
  'src/domain/BoxStore.ts',
  'src/http/controllers/boxes.ts',
  'migrations/create_boxes.sql',
  'tests/attic.test.ts',
  'Dockerfile',
])('a room may not have %s', (path) => {
  expect(roomMistakes(room(path))).toEqual([`services/attic/${path}: a room has no such place`]);
});

test('a room without its main is found', () => {
  expect(roomMistakes(room().filter(({ path }) => !path.endsWith('main.ts')))).toEqual([
    'services/attic/src/main.ts: is missing',
  ]);
});
