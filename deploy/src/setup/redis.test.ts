import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { redisAcl } from './redis.ts';

const acl = redisAcl({ admin: 'secret-of-the-admin', session: 'secret-of-session' });
const users: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  acl.split('\n').map((line) => [line.split(' ')[1], line.split(' ')]),
);

/** Without this a new command in a store works in its tests, whose user may do everything, and nowhere else. */
test('session may say each command that its stores say, and no other but those of connecting', () => {
  const stores = new URL('../../../services/session/src/stores/', import.meta.url);
  const text = readdirSync(stores)
    .map((name) => readFileSync(new URL(name, stores), 'utf8'))
    .join('\n');
  const said = [...text.matchAll(/redis\.call\('(\w+)'|redis\.(get|hmget|ping|evalsha|eval)\(/g)].map(
    ([, inside, outside]) => `+${(inside ?? outside ?? '').toLowerCase()}`,
  );
  const connecting = ['+auth', '+hello', '+info', '+client|setname', '+client|id', '+ping'];
  const allowed = users['session']?.filter((rule) => rule.startsWith('+')) ?? [];
  expect(allowed.toSorted()).toEqual([...new Set([...said, ...connecting])].toSorted());
});

test('the file holds hashes and no secret, and nobody gets in without a name', () => {
  expect(acl).not.toContain('secret-of');
  expect(users['default']).toContain('off');
});
