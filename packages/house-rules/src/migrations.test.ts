import { expect, test } from 'vitest';

import { migrationMistakes } from './migrations.ts';
import { readRepository } from './repository.ts';

const mistakesOf = (...names: string[]): string[] =>
  migrationMistakes(names.map((name) => ({ path: `services/attic/migrations/${name}`, text: '' })));

test('migrations are numbered without gaps', () => {
  expect(migrationMistakes(readRepository())).toEqual([]);
});

test('a gap, a repeat and another beginning are found', () => {
  expect(mistakesOf('0001_a.sql', '0002_b.sql')).toEqual([]);
  expect(mistakesOf('0001_a.sql', '0003_b.sql')).toHaveLength(1);
  expect(mistakesOf('0001_a.sql', '0001_b.sql')).toHaveLength(1);
  expect(mistakesOf('0002_a.sql')).toHaveLength(1);
});
