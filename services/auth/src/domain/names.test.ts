import fc from 'fast-check';
import { expect, test } from 'vitest';

import { judgeName } from './names.ts';

test.for([
  'alice',
  'a',
  'Alice',
  'alice@example.com',
  'auth0|5f7c8ec7',
  'Ünal',
  'Иван',
  '李雷',
  'x'.repeat(63),
  '_x',
  '1',
  'mz',
  'pgx',
  'posterior',
])('%s is a name', (name) => {
  expect(judgeName(name)).toBe('fine');
});

test.for([
  'mz_system',
  'mz_support',
  'mz_analytics',
  'mz_unknown',
  'MZ_x',
  'pg_somebody',
  'Pg_x',
  'external_asdf',
  'postern_reader',
  'PUBLIC',
  'public',
  'none',
  'postgres',
  'app_owner',
  'anonymous_http_user',
  'current_user',
])('%s is reserved', (name) => {
  expect(judgeName(name)).toBe('reserved');
});

test.for([
  ['empty', ''],
  ['64 bytes', 'x'.repeat(64)],
  ['64 bytes in 32 characters', 'é'.repeat(32)],
  ['a space', 'a b'],
  ['a no-break space', 'a\u00a0b'],
  ['a quote', "o'hara"],
  ['a double quote', 'a"b'],
  ['a backslash', 'a\\b'],
  ['a slash', 'a/b'],
  ['a colon, which ends the user name of HTTP Basic', 'a:b'],
  ['a NUL', 'a\0'],
  ['a line end', 'a\nb'],
  ['a comma', 'a,b'],
  ['a percent sign', 'a%b'],
  ['a leading sign', '-a'],
  ['dots only', '..'],
  ['a zero-width joiner', 'a\u200db'],
  ['a direction override', 'a\u202eb'],
  ['a decomposed letter', 'e\u0301'],
  ['fullwidth letters', 'ａdmin'],
  ['two scripts that look alike', 'аdmin'],
  ['a lone surrogate', 'a\ud800'],
])('a name with %s is malformed', ([, name]) => {
  expect(judgeName(name ?? '')).toBe('malformed');
});

test('a name that is fine is canonical, fits a role, and has nothing that a header, a path or SQL would take for its own', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (name) => {
      if (judgeName(name) !== 'fine') return;
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
      expect(name.normalize('NFKC')).toBe(name);
      expect(name).not.toMatch(/[\s\p{C}'"`\\/:%?#,;<>(){}[\]]/u);
    }),
  );
});
